// SPDX-License-Identifier: Apache-2.0
#include "checksums.hpp"

#include <algorithm>
#include <cull/checkpoint/checksums.hpp>
#include <filesystem>
#include <memory>
#include <set>
#include <sstream>
#include <utility>

#include "verbs.hpp"

#ifdef CULL_PROGRAM_SHA256
#include <openssl/evp.h>
#endif

namespace program {
namespace {

#ifdef CULL_PROGRAM_SHA256
class sha256 final : public cull::byte_digest {
 public:
  sha256() { check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }
  void append(std::span<std::byte const> bytes) override {
    check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }
  std::string hex() override {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1);
    std::string out;
    for (unsigned i = 0; i < size; ++i) {
      for (int const shift : {4, 0}) out += "0123456789abcdef"[(digest[i] >> shift) & 15];
    }
    return out;
  }

 private:
  static void check(bool good) {
    if (!good) throw cull::error{cull::errc::io, "OpenSSL has no SHA-256 (not allowed by its configuration?)"};
  }
  struct deleter {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, deleter> context_{EVP_MD_CTX_new()};
};

std::string sha256_lines(std::string const& dir, int threads) {
  return cull::checksum_lines(dir, sha256_maker(), {.cancelled = stopped, .threads = threads});
}
#endif

std::set<std::string> lines_of(std::string const& text) {
  std::set<std::string> out;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);) out.insert(line);
  return out;
}

}  // namespace

void require_sha256() {
#ifndef CULL_PROGRAM_SHA256
  throw CLI::ValidationError{"--hash", "this program was built without OpenSSL, which has SHA-256"};
#endif
}

cull::digest_maker sha256_maker() {
#ifdef CULL_PROGRAM_SHA256
  return [] { return std::make_unique<sha256>(); };
#else
  return {};
#endif
}

cull::added_file make_checksums([[maybe_unused]] std::filesystem::path const& dir, [[maybe_unused]] int threads,
                                [[maybe_unused]] std::map<std::string, std::string> const& known) {
  cull::added_file out{cull::sha256_file_name, {}};
#ifdef CULL_PROGRAM_SHA256
  auto const cancelled = [&dir] {
    if (stopped())
      throw cull::error{cull::errc::cancelled, "stopped; the same command goes on from here", {.file = dir.string()}};
    return false;
  };
  out.text = cull::checksum_lines(dir, sha256_maker(), {.known = known, .cancelled = cancelled, .threads = threads});
#endif
  return out;
}

void tell_checksums(console const& out) {
  out.say("added " + std::string{cull::sha256_file_name} + ": `sha256sum -c` checks every file");
}

bool has_checksums(std::filesystem::path const& dir) {
  if (!std::filesystem::exists(dir / cull::sha256_file_name) || !std::filesystem::exists(dir / cull::manifest_file_name))
    return false;
  auto const added = cull::detail::added_names(cull::detail::read_manifest(dir));
  return std::find(added.begin(), added.end(), cull::sha256_file_name) != added.end();
}

void write_checksums([[maybe_unused]] std::string const& dir, console const& out) {
#ifdef CULL_PROGRAM_SHA256
  cull::add_checksums(dir, sha256_maker(), {.cancelled = stopped});
  tell_checksums(out);
#else
  out.note(std::string{cull::sha256_file_name} + " was not made anew: this program was built without OpenSSL");
#endif
}

void check_checksums(std::string const& dir, [[maybe_unused]] int threads, std::vector<std::string>& failures) {
  std::string const name = cull::sha256_file_name;
  auto const path = std::filesystem::path{dir} / name;
  if (!has_checksums(dir)) return;
#ifdef CULL_PROGRAM_SHA256
  auto const written = lines_of(cull::detail::slurp(path)), found = lines_of(sha256_lines(dir, threads));
  std::vector<std::string> stale;
  std::set_difference(written.begin(), written.end(), found.begin(), found.end(), std::back_inserter(stale));
  for (auto const& line : stale) failures.push_back(name + ": is not true: " + line);
  if (stale.empty() && found != written) failures.push_back(name + ": does not list every file");
#else
  failures.push_back(name + ": cannot be checked, this program was built without OpenSSL; `sha256sum -c` can");
#endif
}

}  // namespace program
