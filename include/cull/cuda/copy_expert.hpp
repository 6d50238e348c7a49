// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cuda/expert_table.hpp>
#include <cull/expert/expert_mlp.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Parts of an expert, one after another in device memory, each from a multiple of 256 bytes on.
template <class Copy>
class part_copier {
 public:
  part_copier(void* memory, Copy& copy) : memory_(static_cast<std::byte*>(memory)), copy_(&copy) {}

  std::int64_t bytes() const { return used_; }

  template <class T>
  T const* operator()(T const* from, std::int64_t count) {
    if (count == 0) return nullptr;
    auto const size = count * static_cast<std::int64_t>(sizeof(T));
    auto* const to = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (size + 255) / 256 * 256;
    (*copy_)(to, from, static_cast<std::size_t>(size));
    return reinterpret_cast<T const*>(to);
  }
  template <class F>
  matrix<F, device_memory> operator()(matrix<F> const& m) {
    auto parts = m.parts;
    // Rows among those of another matrix come with what lies between them.
    auto const rows = m.rows == 0 ? 0 : (m.rows - 1) * m.parts.row_step + 1;
    parts.codes = (*this)(m.parts.codes, rows * m.cols / 2);
    parts.scales = (*this)(m.parts.scales, rows * m.cols / F::group);
    return {parts, m.rows, m.cols};
  }
  array_view<float const, device_memory> operator()(array_view<float const> bias) {
    return {(*this)(bias.data(), bias.size()), bias.size()};
  }

 private:
  std::byte* memory_;
  Copy* copy_;
  std::int64_t used_ = 0;
};

template <class F, class Copier>
gated_expert<matrix<F, device_memory>> copied(gated_expert<matrix<F>> const& from, Copier& part) {
  gated_expert<matrix<F, device_memory>> to{part(from.gate), part(from.up), part(from.down)};
  to.gate_bias = part(from.gate_bias);
  to.up_bias = part(from.up_bias);
  to.down_bias = part(from.down_bias);
  return to;
}

}  // namespace detail

/// Bytes of device memory that `copy_expert` fills, a multiple of 256: `expert_bytes` of a `stream_plan`.
template <detail::tiled_format F>
std::int64_t expert_bytes(gated_expert<matrix<F>> const& e) {
  auto const nothing = [](void*, void const*, std::size_t) {};
  detail::part_copier part{nullptr, nothing};
  detail::copied(e, part);
  return part.bytes();
}

/// An expert from host memory, a mapped checkpoint's for one, to device memory at `to`, aligned to 256 bytes:
/// `copy(to, from, bytes)` enqueues the copy of a part, six of them at most for an expert without biases. What is returned can be
/// run when they are done.
template <detail::tiled_format F, class Copy>
gated_expert<matrix<F, device_memory>> copy_expert(gated_expert<matrix<F>> const& from, void* to, Copy&& copy) {
  detail::part_copier part{to, copy};
  return detail::copied(from, part);
}

CULL_NAMESPACE_END
