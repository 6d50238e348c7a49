// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "console.hpp"

namespace program {

/// Throws where the program was built without OpenSSL's SHA-256.
void require_sha256();
/// Writes SHA256SUMS of a complete checkpoint.
void write_checksums(std::string const& dir, int threads, console const& out);
/// Adds to `failures` where the checkpoint has SHA256SUMS and its files others.
void check_checksums(std::string const& dir, int threads, std::vector<std::string>& failures);

}  // namespace program
