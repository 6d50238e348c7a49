// SPDX-License-Identifier: Apache-2.0
// A second digest of written files: worked out while they are written, read again only where it must be.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include <cull/checkpoint/checksums.hpp>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

/// FNV-1a of 64 bits, which is not the library's.
class fnv {
 public:
  void append(char const* bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) state_ = (state_ ^ static_cast<unsigned char>(bytes[i])) * 1099511628211u;
  }
  std::string hex() const {
    std::ostringstream out;
    out << std::hex << state_;
    return out.str();
  }

 private:
  std::uint64_t state_ = 14695981039346656037u;
};
std::string fnv_of(std::string const& text) {
  fnv hash;
  hash.append(text.data(), text.size());
  return hash.hex();
}

std::atomic<int> begun{0};
class fnv_digest final : public cull::byte_digest {
 public:
  fnv_digest() { ++begun; }
  void append(std::span<std::byte const> bytes) override {
    hash_.append(reinterpret_cast<char const*>(bytes.data()), bytes.size());
  }
  std::string hex() override { return hash_.hex(); }

 private:
  fnv hash_;
};
cull::digest_maker const make_fnv = [] { return std::make_unique<fnv_digest>(); };

/// What the list must say of a directory.
std::string expected_lines(fs::path const& dir) {
  std::string out;
  for (auto const& [name, text] : contents(dir)) {
    if (name != cull::manifest_file_name && name != cull::sha256_file_name) out += fnv_of(text) + "  " + name + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("checksums: every file's is worked out while it is written, by one thread or more") {
  for (int const threads : {1, 3}) {
    scratch_folder const folder;
    auto const report = cull::apply(model(), oracle_plan(), folder / "out", {.threads = threads, .digest = make_fnv});
    for (auto const& file : report.files) {
      if (file.name == cull::manifest_file_name) continue;
      CAPTURE(file.name);
      REQUIRE(report.digests.contains(file.xxh128));
      CHECK(report.digests.at(file.xxh128) == fnv_of(slurp(folder / "out" / file.name)));
    }
    begun = 0;
    CHECK(cull::checksum_lines(folder / "out", make_fnv, {.known = report.digests}) == expected_lines(folder / "out"));
    CHECK(begun == 0);
    CHECK(cull::checksum_lines(folder / "out", make_fnv, {.threads = threads}) == expected_lines(folder / "out"));
    CHECK(begun > 0);
  }
}

TEST_CASE("checksums: files of an interrupted run are read, those that were changed since are not believed") {
  scratch_folder const folder;
  std::uint64_t done = 0;
  auto const stopped = code_of([&] {
    cull::apply(
        model(), oracle_plan(), folder / "out",
        {.progress = [&](auto bytes, auto) { done = bytes; }, .cancelled = [&] { return done > 3'000'000; }, .threads = 1});
  });
  CHECK(stopped == cull::errc::cancelled);
  auto const report = cull::apply(model(), oracle_plan(), folder / "out", {.digest = make_fnv});
  REQUIRE(report.resumed > 0);
  cull::add_files(folder / "out", {{cull::card_file_name, "A card.\n"}});
  cull::add_checksums(folder / "out", make_fnv, {.known = report.digests});
  CHECK(slurp(folder / "out" / cull::sha256_file_name) == expected_lines(folder / "out"));
  CHECK(cull::find_differences(model(), oracle_plan(), folder / "out").failures.empty());
  CHECK(code_of([&] { cull::checksum_lines(folder / "out", make_fnv, {.cancelled = [] { return true; }}); }) ==
        cull::errc::cancelled);
}

TEST_CASE("checksums: a list of the source's own is kept and listed; names are escaped as sha256sum does it") {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  spill(folder / "m/SHA256SUMS", "the source's\n");
  spill(folder / "m/a\nb\\c.txt", "odd");
  auto const source = cull::checkpoint::open(folder / "m");
  auto const list = [](fs::path const& dir) {
    std::string out;
    for (auto const& [name, text] : contents(dir)) {
      if (name == cull::manifest_file_name || name == cull::sha256_file_name) continue;
      bool const odd = name == "a\nb\\c.txt";
      out += (odd ? "\\" : "") + fnv_of(text) + "  " + (odd ? "a\\nb\\\\c.txt" : name) + "\n";
    }
    return out;
  };
  cull::file_adder const adder{{cull::sha256_file_name}, [](auto const& dir, auto const& known) {
                                 return std::vector<cull::added_file>{
                                     {cull::sha256_file_name, cull::checksum_lines(dir, make_fnv, {.known = known})}};
                               }};
  cull::apply(source, oracle_plan(), folder / "out", {.digest = make_fnv, .additions = {adder}});
  CHECK(slurp(folder / "out/SHA256SUMS.base") == "the source's\n");
  CHECK(slurp(folder / "out/SHA256SUMS") == list(folder / "out"));
  CHECK(cull::find_differences(source, oracle_plan(), folder / "out").failures.empty());
  cull::apply(source, oracle_plan(), folder / "later");
  cull::add_checksums(folder / "later", make_fnv);
  CHECK(contents(folder / "later") == contents(folder / "out"));
}
