// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// 8 e2m1 codes, lowest nibble first, to f16 pairs, where the hardware has no conversion: 14 instructions.
/// `permute(a, b, selector)` is PTX's `prmt.b32`. The lower byte of every value's f16 is 0; the upper one, but for its sign,
/// comes from a table of 8 bytes.
template <class Permute>
CULL_HD inline void unpack_e2m1_by_table(std::uint32_t codes, std::uint32_t (&out)[4], Permute permute) {
  auto const even_signs = codes << 4;
  for (unsigned half = 0; half < 2; ++half) {
    auto const magnitudes = permute(0x3e3c3800u, 0x46444240u, (codes >> (16 * half)) & 0x7777u);
    auto const signs = permute(even_signs, codes, half == 0 ? 0x5140u : 0x7362u) & 0x80808080u;
    out[2 * half] = permute(magnitudes | signs, 0u, 0x1404u);
    out[2 * half + 1] = permute(magnitudes | signs, 0u, 0x3424u);
  }
}

}  // namespace simt

CULL_NAMESPACE_END
