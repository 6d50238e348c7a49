// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Bits of a tensor of that type and shape, or nothing where they are 2^66 or more: no file holds them. A dimension of 0 makes
/// all of it 0, wherever it stands. Dimensions are below 2^63.
inline std::optional<unsigned __int128> bits_of(dtype type, std::vector<std::uint64_t> const& shape) {
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) return 0;
  auto const limit = static_cast<unsigned __int128>(1) << 66;
  unsigned __int128 total = static_cast<unsigned>(bits(type));
  for (auto const n : shape) {
    if (total > (limit - 1) / n) return std::nullopt;
    total *= n;
  }
  return total;
}

/// What a header's text holds, in its order.
struct header_contents {
  std::map<std::string, std::string> metadata;
  bool has_metadata = false;
  std::vector<tensor_info> tensors;   ///< offsets relative to the data
  std::vector<std::uint32_t> places;  ///< where in the text the key of each tensor begins
};

/// One tensor as the header's text gives it, and what is wrong with it.
struct header_entry {
  tensor_info info;     ///< offsets relative to the data
  unsigned fields = 0;  ///< bits: dtype, shape, data_offsets

  struct finding {
    errc code;
    std::string why;
  };
  std::optional<finding> problem() const {
    for (unsigned i = 0; i < 3; ++i) {
      static constexpr char const* names[] = {"dtype", "shape", "data_offsets"};
      if ((fields >> i & 1u) == 0) return finding{errc::missing_field, std::string{"lacks "} + names[i]};
    }
    if (info.begin > info.end) return finding{errc::offset_order, "data_offsets run backwards"};
    auto const total = bits_of(info.type, info.shape);
    if (!total) return finding{errc::size_overflow, "shape has more elements than a file can hold"};
    if (*total % 8 != 0) return finding{errc::sub_byte, "elements of less than a byte do not fill whole bytes"};
    auto const bytes = static_cast<std::uint64_t>(*total / 8);
    if (bytes == info.bytes()) return std::nullopt;
    return finding{errc::size_mismatch, "shape and dtype ask for " + std::to_string(bytes) + " bytes, data_offsets hold " +
                                            std::to_string(info.bytes())};
  }
};

}  // namespace detail
CULL_NAMESPACE_END
