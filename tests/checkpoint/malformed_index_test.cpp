// SPDX-License-Identifier: Apache-2.0
// Rows 62 to 72 of docs/malformed.md: indexes, and directories whose files are not what an index or a reader expects.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "malformed.hpp"
#include "scratch.hpp"

namespace malformed_index {
namespace {

using namespace checkpoint_test;
using cull::errc;

struct index_case {
  int row;
  std::string text;  ///< '^' marks the byte that the error must name
  errc expected;
  std::optional<std::string> pointer = {};
};

std::string mapped(std::string const& member) { return "{\"weight_map\":{" + member + "}}"; }
std::string sized(std::string const& value) {
  return "{\"metadata\":{\"total_size\":" + value + "},\"weight_map\":{\"a\":\"x.safetensors\"}}";
}

std::vector<index_case> index_cases() {
  std::vector<index_case> out{
      {62, "", errc::json_syntax},
      {62, "weights", errc::json_syntax},
      {62, "{\"weight_map\":{", errc::json_syntax},
      {62, "^\xef\xbb\xbf{}", errc::json_syntax},
      {62, std::string{"{}^\0", 4}, errc::json_trailing},
      {62, "{\"weight_map\":{}} ^x", errc::json_trailing},
      {62, "{\"weight_map\":{\"^\xff\":\"x.safetensors\"}}", errc::bad_utf8},
      {62, "{\"metadata\":" + std::string(63, '[') + "^[" + std::string(64, ']') + "}", errc::json_depth},
      {62, "{}", errc::index_schema},
      {62, "[]", errc::index_schema},
      {62, "[{\"weight_map\":{}}]", errc::index_schema},
      {62, "{\"metadata\":{}}", errc::index_schema},
      {62, "{\"x\":{\"weight_map\":{}}}", errc::index_schema},
      {62, "{\"weight_map\":^[]}", errc::index_schema, "/weight_map"},
      {62, "{\"weight_map\":^null}", errc::index_schema, "/weight_map"},
      {62, "{\"weight_map\":^7}", errc::index_schema, "/weight_map"},
      {62, "{\"weight_map\":^\"x.safetensors\"}", errc::index_schema, "/weight_map"},
      {67, "{\"weight_map\":{\"a\":\"x.safetensors\",^\"a\":\"x.safetensors\"}}", errc::duplicate_key, "/weight_map/a"},
      {67, "{\"weight_map\":{\"a\":\"x.safetensors\",^\"\\u0061\":\"y.safetensors\"}}", errc::duplicate_key, "/weight_map/a"},
      {62, "{\"metadata\":^[],\"weight_map\":{}}", errc::index_schema, "/metadata"},
      {62, "{\"metadata\":^\"x\",\"weight_map\":{}}", errc::index_schema, "/metadata"},
      {67, "{\"weight_map\":{},^\"weight_map\":{}}", errc::duplicate_key, "/weight_map"},
      {67, "{\"metadata\":{\"a\":1,^\"a\":1},\"weight_map\":{}}", errc::duplicate_key, "/metadata/a"},
      {12, "{\"weight_map\":{^\"a\\u0000\":\"x.safetensors\"}}", errc::bad_name},
      {54, "{\"weight_map\":{^\"" + std::string(4097, 'n') + "\":\"x.safetensors\"}}", errc::bad_name},
      {68, sized("^4.67e11"), errc::bad_integer, "/metadata/total_size"},
      {68, sized("^467000000000.0"), errc::bad_integer, "/metadata/total_size"},
      {68, sized("^-1"), errc::bad_integer, "/metadata/total_size"},
      {68, sized("^9223372036854775808"), errc::integer_range, "/metadata/total_size"},
      {68, sized("^18446744073709551617"), errc::integer_range, "/metadata/total_size"},
  };
  for (auto const value : {"7", "null", "true", "{}", "[]", "-1", "1.5"})
    out.push_back({62, mapped(std::string{"\"a/b~\":^"} + value), errc::index_schema, "/weight_map/a~1b~0"});
  for (auto const shard : {"/etc/x.safetensors", "../x.safetensors", "a/../../x.safetensors", "C:x.safetensors",
                           "a\\\\b.safetensors", "model.bin", "", ".safetensors", ".hidden.safetensors", "x.safetensors\\u0000",
                           "x\\u0000.safetensors", "x.SAFETENSORS", "sub/x.safetensors", "x.safetensors.gz"})
    out.push_back({63, mapped(std::string{"\"a\":^\""} + shard + "\""), errc::bad_shard_name, "/weight_map/a"});
  return out;
}

/// Two files, three tensors, an index.
class small_model {
 public:
  small_model() {
    fs::create_directory(dir());
    spill(dir() / "a.safetensors", malformed::file("{" + malformed::entry("one", "U8", "[2]", "[0,2]") + "," +
                                                       malformed::entry("two", "U8", "[2]", "[2,4]") + "}",
                                                   4));
    spill(dir() / "b.safetensors", malformed::file("{" + malformed::entry("three", "U8", "[3]", "[0,3]") + "}", 3));
    index(R"("one":"a.safetensors","two":"a.safetensors","three":"b.safetensors")");
  }
  fs::path dir() const { return folder_ / "m"; }
  fs::path beside() const { return folder_.path(); }
  void index(std::string const& map, std::string const& size = "7") const {
    spill(dir() / "model.safetensors.index.json", "{\"metadata\":{\"total_size\":" + size + "},\"weight_map\":{" + map + "}}");
  }
  cull::detail::shard_set open(cull::leniency const& allowed = {}) const {
    return cull::detail::shard_opener{dir(), {}, allowed}.open();
  }
  cull::error refusal(cull::leniency const& allowed = {}) const {
    return failure_of([&] { open(allowed); });
  }

 private:
  scratch_folder folder_;
};

}  // namespace

TEST_CASE("malformed: every index has the answer that stands beside it") {
  auto const cases = index_cases();
  for (auto const& each : cases) {
    auto text = each.text;
    std::optional<std::size_t> byte;
    if (auto const mark = text.find('^'); mark != std::string::npos) {
      text.erase(mark, 1);
      byte = mark;
    }
    auto const shown = "row " + std::to_string(each.row) + ": " + text.substr(0, 80);
    CAPTURE(shown);
    auto const problem = failure_of([&] { cull::parse_index(text, "f"); });
    std::string const said = problem.what();
    CAPTURE(said);
    CHECK(cull::name(problem.code()) == cull::name(each.expected));
    CHECK(problem.where().file == "f");
    REQUIRE(problem.where().byte.has_value());
    CHECK(*problem.where().byte == byte.value_or(*problem.where().byte));
    CHECK(problem.where().json_pointer == each.pointer.value_or(problem.where().json_pointer));
  }
  MESSAGE(cases.size() << " indexes");
}

TEST_CASE("index: what may be there passes through") {
  auto const index = cull::parse_index(
      R"( {"metadata":{"mergekit_version":"0.1","total_parameters":12.5e9,"x":[{"y":null}],"total_size":467000000000},
      "weight_map":{"b":"model-mtp-of-00005.safetensors","a":"model-00001-of-000163.safetensors","":"0.safetensors"},"more":[true]} )",
      "f");
  CHECK(index.total_size == 467000000000u);
  REQUIRE(index.tensors.size() == 3);
  CHECK(index.shards.at(index.find("a")->shard) == "model-00001-of-000163.safetensors");
  CHECK(index.shards.at(index.find("")->shard) == "0.safetensors");
  CHECK(index.find("c") == nullptr);
  CHECK(index.warnings.empty());
  CHECK(cull::parse_index(sized("\"7\""), "f").warnings.size() == 1);
  CHECK(cull::parse_index(mapped(""), "f").warnings.size() == 1);
  CHECK(cull::parse_index(mapped("\"a\\u0000\":\"x.safetensors\""), "f", {.nul_in_names = true}).tensors.size() == 1);
}

TEST_CASE("open: index and files that disagree, each with its own message") {
  small_model const m;
  CHECK(m.open().tensors.size() == 3);
  CHECK(m.open().warnings.empty());
  auto const says = [&](std::string const& map, errc code, std::string const& tensor, std::string const& text) {
    m.index(map);
    auto const problem = m.refusal();
    CHECK(cull::name(problem.code()) == cull::name(code));
    CHECK(problem.where().tensor == tensor);
    CHECK_MESSAGE(mentions(problem.what(), text), std::string{problem.what()});
  };
  auto const whole = std::string{R"("one":"a.safetensors","two":"a.safetensors","three":"b.safetensors")"};
  says(whole + R"(,"x":"c.safetensors","y":"d.safetensors")", errc::missing_shard, "", "2 of the 4 files");
  says(whole + R"(,"four":"b.safetensors")", errc::missing_tensor, "four", "1 such tensors");
  says(R"("one":"b.safetensors","two":"a.safetensors","three":"b.safetensors")", errc::wrong_shard, "one", "is in a.safetensors");
  says(R"("one":"a.safetensors","three":"b.safetensors")", errc::unindexed_tensor, "two", "adopt-unindexed");
  auto const adopted = m.open({.adopt_unindexed = true});
  CHECK(adopted.tensors.size() == 3);
  REQUIRE(adopted.warnings.size() == 1);
  CHECK(mentions(adopted.warnings[0], "adopted"));

  spill(m.dir() / "b.safetensors", malformed::file("{" + malformed::entry("three", "U8", "[3]", "[0,3]") + "," +
                                                       malformed::entry("two", "U8", "[1]", "[3,4]") + "}",
                                                   4));
  says(whole, errc::duplicate_tensor, "two", "the index names a.safetensors");
  auto const settled = m.open({.duplicate_tensors = true});
  REQUIRE(settled.tensors.size() == 3);
  CHECK(settled.tensors[2].name == "two");
  CHECK(settled.tensors[2].bytes() == 2);
  says(R"("one":"a.safetensors","three":"b.safetensors")", errc::duplicate_tensor, "two", "two files");
  CHECK(m.refusal({.duplicate_tensors = true}).code() == errc::duplicate_tensor);
  for (auto const* const file : {"a.safetensors", "b.safetensors"}) {
    spill(m.dir() / file,
          malformed::file(
              "{" + malformed::entry("two", "U8", "[2]", "[0,2]") + "," + malformed::entry("z", "U8", "[1]", "[2,3]") + "}", 3));
  }
  m.index(R"("two":"a.safetensors","x":"b.safetensors")");
  auto const unsettled = m.refusal({.duplicate_tensors = true});
  CHECK(unsettled.code() == errc::duplicate_tensor);
  CHECK(unsettled.where().tensor == "z");
}

TEST_CASE(
    "open: a file of the family's that the index leaves out; bytes behind the last tensor are told; a huge text is refused") {
  small_model const m;
  spill(m.dir() / "mtp.safetensors", malformed::file("{" + malformed::entry("four", "U8", "[1]", "[0,1]") + "}", 3));
  auto const opened = [&](cull::leniency const& allowed) {
    return cull::detail::shard_opener{m.dir(), {"mtp.safetensors", "absent.safetensors"}, allowed}.open();
  };
  CHECK(code_of([&] { opened({}); }) == errc::trailing_data);
  auto const found = opened({.trailing_data = true});
  CHECK(found.tensors.size() == 4);
  CHECK(found.shards.size() == 3);
  REQUIRE(found.warnings.size() == 1);
  CHECK(mentions(found.warnings[0], "mtp.safetensors: 2 bytes behind the last tensor"));
  fs::resize_file(m.dir() / "model.safetensors.index.json", (std::uintmax_t{1} << 30) + 1);
  CHECK(m.refusal().code() == errc::out_of_range);
}

TEST_CASE("open: a wrong total_size and a stray file are warnings") {
  small_model const m;
  m.index(R"("one":"a.safetensors","two":"a.safetensors","three":"b.safetensors")", "8");
  spill(m.dir() / "stray.safetensors", "not read");
  auto const warnings = m.open().warnings;
  REQUIRE(warnings.size() == 2);
  CHECK(mentions(warnings[0] + warnings[1], "stray.safetensors belongs to no index"));
  CHECK(mentions(warnings[0] + warnings[1], "total_size is 8, the tensors take 7"));
}

TEST_CASE("open: what is no regular file is refused at once") {
  small_model const m;
  auto const with = [&](auto&& make) {
    fs::remove_all(m.dir() / "b.safetensors");
    make(m.dir() / "b.safetensors");
    auto const problem = m.refusal();
    CHECK(problem.where().file == (m.dir() / "b.safetensors").string());
    return problem.code();
  };
  CHECK(with([](fs::path const& p) { REQUIRE(::mkfifo(p.c_str(), 0600) == 0); }) == errc::not_regular);
  CHECK(with([](fs::path const& p) { fs::create_directory(p); }) == errc::not_regular);
  CHECK(with([](fs::path const& p) { fs::create_symlink("b.safetensors", p); }) == errc::not_regular);
  CHECK(code_of([] { cull::source_file{"/dev/null"}; }) == errc::not_regular);
  CHECK(code_of([&] { cull::source_file{m.dir()}; }) == errc::not_regular);
  fs::remove_all(m.dir() / "b.safetensors");
  fs::create_symlink("gone", m.dir() / "b.safetensors");
  CHECK(m.refusal().code() == errc::missing_shard);
  fs::remove(m.dir() / "b.safetensors");
  spill(m.dir() / "b.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
  CHECK(m.refusal().code() == errc::not_safetensors);
}

TEST_CASE("open: links of a hub's cache work, links that leave the tree only on request") {
  small_model const m;
  auto const cache = m.beside() / "models--x--y";
  fs::create_directories(cache / "blobs");
  fs::create_directories(cache / "snapshots/0123");
  int blob = 0;
  for (auto const& entry : fs::directory_iterator{m.dir()}) {
    auto const name = "sha" + std::to_string(blob++);
    fs::copy_file(entry.path(), cache / "blobs" / name);
    fs::create_symlink("../../blobs/" + name, cache / "snapshots/0123" / entry.path().filename());
  }
  CHECK(cull::detail::shard_opener{cache / "snapshots/0123", {}, {}}.open().tensors.size() == 3);
  fs::create_directory_symlink(cache / "snapshots/0123", m.beside() / "shortcut");
  CHECK(cull::detail::shard_opener{m.beside() / "shortcut", {}, {}}.open().tensors.size() == 3);

  fs::rename(m.dir() / "b.safetensors", m.beside() / "b.safetensors");
  fs::create_symlink("../b.safetensors", m.dir() / "b.safetensors");
  CHECK(m.refusal().code() == errc::outside_tree);
  CHECK(mentions(m.refusal().what(), "outside-links"));
  CHECK(m.open({.outside_links = true}).tensors.size() == 3);
  fs::remove(m.dir() / "b.safetensors");
  fs::create_symlink("kept.safetensors", m.dir() / "b.safetensors");
  fs::rename(m.beside() / "b.safetensors", m.dir() / "kept.safetensors");
  CHECK(m.open().tensors.size() == 3);
}

TEST_CASE("safetensors_file: what is asked of one file") {
  small_model const m;
  auto const file = cull::safetensors_file::open(m.dir() / "a.safetensors");
  CHECK(file.size() == fs::file_size(m.dir() / "a.safetensors"));
  CHECK(file.data_begin() == file.size() - 4);
  CHECK(file.metadata().empty());
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.find("three") == nullptr);
  CHECK(file.require("two").begin == file.data_begin() + 2);
  auto const missing = failure_of([&] { file.require("three"); });
  CHECK(missing.code() == errc::not_found);
  CHECK(missing.where().tensor == "three");
  cull::source_file first{m.dir() / "a.safetensors"};
  cull::source_file moved{std::move(first)};
  moved = cull::source_file{m.dir() / "b.safetensors"};
  CHECK(moved.path() == m.dir() / "b.safetensors");
  std::vector<std::byte> whole(static_cast<std::size_t>(moved.size()));
  moved.read(0, whole);
  CHECK(slurp(moved.path()) == std::string{reinterpret_cast<char const*>(whole.data()), whole.size()});
  cull::detail::check_shard_name("a.safetensors", "f");
  CHECK(code_of([] { cull::detail::check_shard_name("../a.safetensors", "f"); }) == errc::bad_shard_name);
}

TEST_CASE("source: a file that shrinks or changes is an error, not a signal") {
  small_model const m;
  auto const path = m.dir() / "a.safetensors";
  cull::source_file const opened{path};
  std::vector<std::byte> whole(static_cast<std::size_t>(opened.size()));
  opened.read(0, whole);
  auto const set = m.open();
  auto const& one = set.tensors.at(0);
  CHECK(set.shards.at(0).bytes(one).size() == 2);
  fs::resize_file(path, opened.size() - 3);
  CHECK(code_of([&] { opened.read(0, whole); }) == errc::source_changed);
  CHECK(code_of([&] { set.shards.at(0).bytes(one); }) == errc::source_changed);
  auto const unread = m.refusal();
  CHECK(unread.code() == errc::truncated);
  CHECK(mentions(unread.what(), "ends 3 bytes before"));
  fs::remove(path);
  CHECK(code_of([&] { set.shards.at(0).bytes(one); }) == errc::not_found);
}

}  // namespace malformed_index
