// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

std::vector<std::byte> noise(std::size_t size, unsigned seed) {
  std::mt19937 random{seed};
  std::vector<std::byte> out(size);
  for (auto& b : out) b = static_cast<std::byte>(random());
  return out;
}

}  // namespace

TEST_CASE("write_safetensors: other readers find every tensor; types from wide to narrow, then names; data at a multiple of 8") {
  scratch_folder const folder;
  auto const a = noise(12, 1), b = noise(7, 2), c = noise(16, 3), d = noise(0, 4);
  std::vector<cull::tensor_source> tensors{{"b.bytes", cull::dtype::u8, {7}, b},
                                           {"z", cull::dtype::f32, {3}, a},
                                           {"empty", cull::dtype::bf16, {0, 4}, d},
                                           {"a \"quoted\" \xc3\xa9", cull::dtype::i64, {2, 1}, c}};
  std::map<std::string, std::string> const metadata{{"format", "pt"}, {"note", "line\nbreak"}};
  cull::write_safetensors(folder / "one.safetensors", metadata, tensors);
  auto const read = test_support::read_safetensors(folder / "one.safetensors");
  REQUIRE(read.size() == 4);
  for (auto const& t : tensors) {
    CHECK(read.at(t.name).dtype == cull::name(t.type));
    CHECK(read.at(t.name).shape == std::vector<std::int64_t>{t.shape.begin(), t.shape.end()});
    CHECK(std::equal(t.bytes.begin(), t.bytes.end(), std::as_bytes(std::span{read.at(t.name).bytes}).begin(),
                     std::as_bytes(std::span{read.at(t.name).bytes}).end()));
  }
  CHECK(test_support::read_metadata(folder / "one.safetensors") == metadata);
  auto const text = slurp(folder / "one.safetensors");
  CHECK((static_cast<unsigned char>(text[0]) + 256 * static_cast<unsigned char>(text[1])) % 8 == 0);
  CHECK(text.find("a \\\"quoted") < text.find("\"z\""));
  CHECK(text.find("\"z\"") < text.find("\"empty\""));
  CHECK(text.find("\"empty\"") < text.find("\"b.bytes\""));

  std::reverse(tensors.begin(), tensors.end());
  cull::write_safetensors(folder / "two.safetensors", metadata, tensors);
  CHECK(slurp(folder / "two.safetensors") == text);
}

TEST_CASE("write_safetensors: whole or not at all") {
  scratch_folder const folder;
  auto const a = noise(12, 1);
  auto const write = [&](std::vector<cull::tensor_source> const& tensors, cull::overwrite policy = cull::overwrite::no) {
    cull::write_safetensors(folder / "f.safetensors", {}, tensors, policy);
  };
  CHECK(code_of([&] { write({{"a", cull::dtype::f32, {4}, a}}); }) == cull::errc::shape_mismatch);
  CHECK(code_of([&] { write({{"a", cull::dtype::f32, {3}, a}, {"a", cull::dtype::f32, {3}, a}}); }) == cull::errc::duplicate_key);
  CHECK(code_of([&] { write({{"__metadata__", cull::dtype::f32, {3}, a}}); }) == cull::errc::bad_name);
  CHECK(fs::is_empty(folder.path()));
  write({{"a", cull::dtype::f32, {3}, a}});
  auto const before = slurp(folder / "f.safetensors");
  CHECK(code_of([&] { write({}); }) == cull::errc::already_exists);
  CHECK(slurp(folder / "f.safetensors") == before);
  write({}, cull::overwrite::yes);
  CHECK(slurp(folder / "f.safetensors") != before);
  CHECK(std::distance(fs::directory_iterator{folder.path()}, {}) == 1);
  CHECK(code_of([&] { cull::write_safetensors(folder / "no/such/f.safetensors", {}, {}); }) == cull::errc::not_found);
}

TEST_CASE("safetensors_file: shipped shards hold what the independent reader finds") {
  for (auto const& entry : fs::directory_iterator{model_dir()}) {
    if (entry.path().extension() != ".safetensors") continue;
    auto const wanted = test_support::read_safetensors(entry.path().string());
    auto const file = cull::safetensors_file::open(entry.path());
    REQUIRE(file.tensors().size() == wanted.size());
    for (auto const& t : file.tensors()) {
      auto const& w = wanted.at(t.name);
      CHECK(cull::name(t.type) == w.dtype);
      auto const bytes = file.bytes(t);
      REQUIRE(std::equal(bytes.begin(), bytes.end(), std::as_bytes(std::span{w.bytes}).begin(),
                         std::as_bytes(std::span{w.bytes}).end()));
    }
    CHECK(file.find("no such tensor") == nullptr);
    CHECK(code_of([&] { file.require("no such tensor"); }) == cull::errc::not_found);
  }
  CHECK(code_of([] { cull::safetensors_file::open("/nonexistent/file.safetensors"); }) == cull::errc::not_found);
  CHECK(code_of([] { cull::safetensors_file::open("/dev/null"); }) == cull::errc::not_regular);
}
