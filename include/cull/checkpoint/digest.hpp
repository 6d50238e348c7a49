// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

// Without a library to link: the instructions that every machine has. With CULL_XXHASH_DISPATCH, for a whole program that links
// libxxhash on x86-64: those that this machine has.
// Either macro may be the includer's own; none that is defined here is left behind.
#if defined(CULL_XXHASH_DISPATCH)
#if defined(XXH_STATIC_LINKING_ONLY)
#include <xxh_x86dispatch.h>
#else
#define XXH_STATIC_LINKING_ONLY  // the state's size
#include <xxh_x86dispatch.h>
#undef XXH_STATIC_LINKING_ONLY
#endif
#elif defined(XXH_INLINE_ALL)
#include <xxhash.h>
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#undef XXH_INLINE_ALL
#endif

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

inline std::string hex_words(std::array<std::uint64_t, 2> const& digest) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (auto const word : digest) {
    for (int shift = 60; shift >= 0; shift -= 4) out += digits[(word >> shift) & 15];
  }
  return out;
}

/// XXH128 of a sequence of fields; each field is hashed with its length, so that borders count.
class hasher {
 public:
  hasher() { XXH3_128bits_reset(state_.get()); }

  void add(std::span<std::byte const> bytes) {
    add(static_cast<std::uint64_t>(bytes.size()));
    append(bytes);
  }
  void add(std::string_view text) { add(std::as_bytes(std::span{text})); }
  void add(std::string const& text) { add(std::string_view{text}); }
  void add(std::uint64_t number) { XXH3_128bits_update(state_.get(), &number, sizeof number); }
  /// Bytes without a length, for files that are hashed in pieces.
  void append(std::span<std::byte const> bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }

  /// 32 hex digits, as `xxhsum -H2` prints them.
  std::string hex() const {
    auto const value = XXH3_128bits_digest(state_.get());
    return hex_words({value.high64, value.low64});
  }

 private:
  // By new, which throws where memory ends; the library's own allocation gives nothing.
  std::unique_ptr<XXH3_state_t> state_ = std::make_unique<XXH3_state_t>();
};

inline std::string hex_digest(std::span<std::byte const> bytes) {
  hasher hash;
  hash.append(bytes);
  return hash.hex();
}

}  // namespace detail
CULL_NAMESPACE_END
