// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/row_decoder.hpp>
#include <cull/cpu/x86/amx_bf16.hpp>
#include <cull/cpu/x86/avx2.hpp>
#include <cull/cpu/x86/avx512.hpp>
#include <cull/cpu/x86/avx512_bf16.hpp>
#include <cull/cpu/x86/fixed_point_avx2.hpp>
#include <cull/cpu/x86/fixed_point_avx512.hpp>
#include <cull/expert/precision.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

#if CULL_X86
/// The kernel in fixed point; false where there is none.
template <int Digits, class Run>
bool with_fixed_point(isa level, Run&& run) {
  if (level >= isa::avx512_bf16) {
    run.template operator()<fixed_point_avx512<Digits>>();
  } else if (level >= isa::avx2) {
    run.template operator()<fixed_point_avx2<Digits>>();
  } else {
    return false;
  }
  return true;
}
#endif

/// Calls `run.template operator()<Kernel>()` with the kernel for products of activations under `Policy` with weights of a kind;
/// false where there is none and the reference has to do.
template <class Policy, class Run>
bool with_kernel(on_cpu const& exec, [[maybe_unused]] weight_kind kind, [[maybe_unused]] Run&& run) {
#if CULL_X86
  using precision = typename precision_of<Policy>::type;
  constexpr bool rounded = std::is_same_v<precision, bf16_precision>;
  if constexpr (!std::is_same_v<Policy, precision>) {
    constexpr int digits = rounded ? 2 : 3;
    if (kind == weight_kind::nvfp4_rows) return with_fixed_point<digits>(exec.level(), run);
  }
  if constexpr (rounded) {
    bool const exact = kind >= weight_kind::exact_in_bf16;
    if (exact && exec.level() == isa::amx_bf16) {
      run.template operator()<amx_bf16_kernel>();
      return true;
    }
    if (exact && exec.level() == isa::avx512_bf16) {
      run.template operator()<avx512_bf16_kernel>();
      return true;
    }
  }
  switch (exec.level()) {
    case isa::amx_bf16:
    case isa::avx512_bf16:
    case isa::avx512:
      run.template operator()<avx512_kernel>();
      return true;
    case isa::avx2:
      run.template operator()<avx2_kernel>();
      return true;
    case isa::portable:
      break;
  }
#else
  (void)exec;
#endif
  return false;
}

/// Activations of a view for `token_panel::fill`.
template <class Precision>
struct activation_source {
  matrix_view<float const> x;

  void operator()(std::int64_t token, std::int64_t first, std::int64_t size, float* out) const {
    float const* const row = x.row(token).data() + first;
    for (std::int64_t k = 0; k < size; ++k) out[k] = Precision::activation(row[k]);
  }
};

/// Splits strips over threads in pieces of a multiple of `unit` and calls `body(first, last)`.
template <class Body>
void for_each_strip_range(on_cpu const& exec, std::int64_t strips, std::int64_t unit, bool small, Body&& body) {
  auto const units = (strips + unit - 1) / unit;
  auto const parts = small ? 1 : std::min<std::int64_t>(exec.thread_count(), units);
  for_each_index(small ? exec.alone() : exec, parts, [&](std::int64_t part) {
    body(units * part / parts * unit, std::min(units * (part + 1) / parts * unit, strips));
  });
}

}  // namespace detail

CULL_NAMESPACE_END
