// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cull/checkpoint/byte_digest.hpp>
#include <map>
#include <string>
#include <vector>

#include "console.hpp"

namespace program {

/// Throws where the program was built without OpenSSL's SHA-256.
void require_sha256();
/// Begins a SHA-256.
cull::digest_maker sha256_maker();
/// Writes SHA256SUMS of a complete checkpoint; `known`: digests by XXH128, as `apply` gave them.
void write_checksums(std::string const& dir, int threads, std::map<std::string, std::string> known, console const& out);
/// Adds to `failures` where the checkpoint has SHA256SUMS and its files others.
void check_checksums(std::string const& dir, int threads, std::vector<std::string>& failures);

}  // namespace program
