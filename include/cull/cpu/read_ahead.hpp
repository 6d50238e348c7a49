// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/tensor/any_matrix.hpp>
#include <cull/tensor/plain.hpp>

#if __has_include(<sys/mman.h>) && __has_include(<unistd.h>)
#include <sys/mman.h>
#include <unistd.h>
#define CULL_READ_AHEAD 1
#else
#define CULL_READ_AHEAD 0
#endif

CULL_NAMESPACE_BEGIN

namespace detail {

/// Asks the system to bring pages of a mapped file in; harmless where they are there, or are no file's.
inline void read_ahead([[maybe_unused]] void const* from, [[maybe_unused]] std::int64_t bytes) noexcept {
#if CULL_READ_AHEAD
  auto const page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  auto const begin = reinterpret_cast<std::uintptr_t>(from) / page * page;
  auto const end = reinterpret_cast<std::uintptr_t>(from) + static_cast<std::uintptr_t>(bytes);
  if (bytes > 0) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
#endif
}

template <matrix_format F>
void read_ahead(matrix<F> const& m) noexcept {
  if constexpr (packed_rows<F>::known) {
    auto const stored = m.rows * m.parts.row_step;
    read_ahead(m.parts.codes, stored * m.cols / 2);
    read_ahead(m.parts.scales, stored * m.cols / packed_rows<F>::block);
  } else if constexpr (std::is_same_v<F, bf16_format>) {
    if (m.parts.column_stride == 1) read_ahead(m.parts.data, 2 * m.rows * m.parts.stride);
  }
}

/// An expert's weights, before their turn comes.
template <class M>
void read_ahead(gated_expert<M> const& expert) noexcept {
  for (auto const* m : {&expert.gate, &expert.up, &expert.down}) {
    visit_matrix(*m, [](auto const& known) { read_ahead(known); });
  }
}

}  // namespace detail

CULL_NAMESPACE_END
