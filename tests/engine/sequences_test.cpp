// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include <engine/sequences.hpp>

#include <cull/error.hpp>

namespace {

namespace fs = std::filesystem;

/// A file that is gone at the end of its scope.
class scratch_file {
 public:
  explicit scratch_file(std::string const& text)
      : path_(fs::temp_directory_path() / ("cull-sequences-" + std::to_string(std::random_device{}()) + ".jsonl")) {
    std::ofstream{path_} << text;
  }
  ~scratch_file() { fs::remove(path_); }
  fs::path const& path() const { return path_; }

 private:
  fs::path path_;
};

std::string refusal(std::string const& text) {
  scratch_file const file{text};
  try {
    engine::read_sequences(file.path(), 272);
  } catch (cull::error const& problem) {
    CHECK(problem.code() == cull::errc::bad_sequence);
    return problem.what();
  }
  return "accepted";
}

bool mentions(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("read_sequences: what the format promises") {
  scratch_file const file{
      "{\"id\":\"a\",\"domain\":\"code\",\"ids\":[1,2,271]}\r\n\n{\"ids\":[5],\"weights\":[2.5],\"extra\":{}}"};
  auto const read = engine::read_sequences(file.path(), 272);
  REQUIRE(read.size() == 2);
  CHECK(read[0].id == "a");
  CHECK(read[0].domain == "code");
  CHECK(read[0].ids == std::vector<int>{1, 2, 271});
  CHECK(read[0].weights.empty());
  CHECK(read[1].id == "line 3");
  CHECK(read[1].weights == std::vector<double>{2.5});
}

TEST_CASE("read_sequences: refusals name file and line") {
  auto const late = refusal("{\"ids\":[1]}\n{\"ids\":[1,272]}\n");
  CHECK(mentions(late, "line 2"));
  CHECK(mentions(late, "272"));
  CHECK(mentions(refusal("{\"ids\":[1,-1]}"), "line 1"));
  CHECK(mentions(refusal("{\"ids\":[1.5]}"), "not an integer"));
  CHECK(mentions(refusal("{\"ids\":[\"1\"]}"), "not an integer"));
  CHECK(mentions(refusal("{\"ids\":[18446744073709551615]}"), "vocabulary"));
  CHECK(mentions(refusal("{\"ids\":[]}"), "empty"));
  CHECK(mentions(refusal("{\"id\":\"x\"}"), "missing"));
  CHECK(mentions(refusal("{\"ids\":7}"), "array"));
  CHECK(mentions(refusal("{\"id\":3,\"ids\":[1]}"), "string"));
  CHECK(mentions(refusal("[1]"), "object"));
  CHECK(mentions(refusal("{\"ids\":[1]"), "line 1"));
  CHECK(mentions(refusal("{\"ids\":[1,2],\"weights\":[1]}"), "1 weights for 2 tokens"));
  CHECK(mentions(refusal("{\"ids\":[1],\"weights\":[]}"), "empty"));
  CHECK(mentions(refusal("{\"ids\":[1],\"weights\":[-0.5]}"), "not negative"));
  CHECK(mentions(refusal("{\"ids\":[1],\"weights\":[NaN]}"), "line 1"));
  CHECK(mentions(refusal("{\"ids\":[1],\"weights\":[null]}"), "not a number"));
  CHECK(mentions(refusal("{\"ids\":[1],\"weights\":[1e999]}"), "line 1"));
  CHECK_THROWS_AS(engine::read_sequences("/nonexistent/file.jsonl"), cull::error);
}

TEST_CASE("read_prompts: answers are optional") {
  scratch_file const file{"{\"id\":\"p\",\"ids\":[1],\"answer\":[45,49]}\n{\"ids\":[2]}\n"};
  auto const read = engine::read_prompts(file.path(), 272);
  REQUIRE(read.size() == 2);
  CHECK(read[0].answer == std::vector<int>{45, 49});
  CHECK(read[1].answer.empty());
}

TEST_CASE("emphasize: once per token, both sides, cut at the ends") {
  engine::sequence s{.id = "s", .domain = "d", .ids = {9, 0, 0, 0, 0, 9, 0, 9, 0, 0, 0, 0}, .weights = {}};
  engine::emphasize(s, {.token = 9, .radius = 2, .weight = 6});
  CHECK(s.weights == std::vector<double>{6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 1, 1});
  s.weights = std::vector<double>(12, 0.5);
  engine::emphasize(s, {.token = 9, .radius = 0, .weight = 4});
  CHECK(s.weights == std::vector<double>{2, .5, .5, .5, .5, 2, .5, 2, .5, .5, .5, .5});
  engine::emphasize(s, {.token = 9, .radius = 1'000'000'000'000, .weight = 2});
  CHECK(s.weights[11] == 1.0);
  CHECK(s.weights[0] == 4.0);
}

TEST_CASE("emphasize: code and traces at 262:16:6 are the fixture term") {
  fs::path const data = fs::path{CULL_TEST_DATA} / "tiny-glm/calibration";
  auto ours = engine::read_sequences(data / "code.jsonl");
  for (auto& each : engine::read_sequences(data / "traces.jsonl")) ours.push_back(each);
  for (auto& each : ours) engine::emphasize(each, {.token = 262, .radius = 16, .weight = 6});
  auto const term = engine::read_sequences(data / "term.jsonl");
  auto const sorted = [](std::vector<std::array<std::uint64_t, 2>> all) {
    std::sort(all.begin(), all.end());
    return all;
  };
  CHECK(sorted(engine::digest(ours)) == sorted(engine::digest(term)));
}

TEST_CASE("digest: of ids, effective weights and occurrence; not of names or order") {
  engine::sequence const a{.id = "a", .domain = "x", .ids = {1, 2, 3}, .weights = {}};
  engine::sequence const renamed{.id = "b", .domain = "y", .ids = {1, 2, 3}, .weights = {1, 1, 1}};
  engine::sequence const heavier{.id = "a", .domain = "x", .ids = {1, 2, 3}, .weights = {1, 1, 2}};
  engine::sequence const other{.id = "a", .domain = "x", .ids = {1, 2, 4}, .weights = {}};
  auto const of = [](std::vector<engine::sequence> const& all) { return engine::digest(all); };
  CHECK(of({a}) == of({renamed}));
  CHECK(of({a}) != of({heavier}));
  CHECK(of({a}) != of({other}));
  auto const twice = of({a, other, renamed});
  CHECK(twice[0] != twice[2]);
  CHECK(twice[2] == of({renamed, a})[1]);
  CHECK(twice[1] == of({other})[0]);
}
