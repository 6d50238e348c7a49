// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cull/checkpoint/added_file.hpp>
#include <cull/checkpoint/byte_digest.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "console.hpp"

namespace program {

/// Throws where the program was built without OpenSSL's SHA-256.
void require_sha256();
/// Begins a SHA-256.
cull::digest_maker sha256_maker();
/// SHA256SUMS of a checkpoint in the making; `known`: digests by XXH128, as `apply` gives them. After Ctrl-C throws cull::error
/// `cancelled`, which says how to go on.
cull::added_file make_checksums(std::filesystem::path const& dir, int threads, std::map<std::string, std::string> const& known);
void tell_checksums(console const& out);
/// Whether a complete checkpoint has one that cull made: a list of the source's own is a file like others.
bool has_checksums(std::filesystem::path const& dir);
/// Writes that of a complete checkpoint anew.
void write_checksums(std::string const& dir, console const& out);
/// Adds to `failures` where the checkpoint has SHA256SUMS and its files others.
void check_checksums(std::string const& dir, int threads, std::vector<std::string>& failures);

}  // namespace program
