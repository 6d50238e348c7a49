// SPDX-License-Identifier: Apache-2.0
// What the machine can do at most, measured beside what is compared with it.
#pragma once

#include <cstdint>
#include <span>

#include <cull/cpu/isa.hpp>

namespace benchmarks {

/// Bytes read once, by the widest loads there are.
void stream_read(std::span<std::byte const> bytes, int threads);
/// Bytes written past the caches where the machine can.
void stream_write(std::span<std::byte> bytes, int threads);

/// `from` copied to `to` by std::memcpy.
void copy(std::span<std::byte const> from, std::span<std::byte> to, int threads);

/// Products that a kernel of the level could do at most: `steps` rounds of independent products in registers, on each thread.
/// Returns the number of floating-point operations done. `bf16`: of bf16 pairs, from isa::avx512_bf16 on, else FMA of f32.
enum class product_kind { f32, bf16 };
double peak_products(cull::isa level, product_kind kind, std::int64_t steps, int threads);

}  // namespace benchmarks
