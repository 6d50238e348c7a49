// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// A digest of bytes that come piece by piece, for who wants another beside XXH128: SHA-256 of a library, say.
class byte_digest {
 public:
  byte_digest() = default;
  byte_digest(byte_digest const&) = delete;
  byte_digest& operator=(byte_digest const&) = delete;
  virtual ~byte_digest() = default;

  virtual void append(std::span<std::byte const> bytes) = 0;
  /// Hexadecimal digits, of all that was appended; called once, at the end.
  virtual std::string hex() = 0;
};

/// Begins a digest; called from any thread.
using digest_maker = std::function<std::unique_ptr<byte_digest>()>;

CULL_NAMESPACE_END
