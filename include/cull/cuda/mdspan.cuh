// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include <cuda/std/mdspan>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// The device memory that an mdspan of one dimension, adjacent elements, refers to; nothing is copied. An mdspan does not say
/// where its memory lies: that it is a device's is the caller's word. Throws `errc::shape_mismatch` for another stride than 1.
template <class T, class Extents, class Layout>
requires(Extents::rank() == 1) array_view<T, device_memory> device_view(::cuda::std::mdspan<T, Extents, Layout> const& span) {
  if (span.extent(0) > 1 && span.stride(0) != 1) {
    throw error{errc::shape_mismatch,
                "device_view: elements of a row must be adjacent, not " + std::to_string(span.stride(0)) + " apart"};
  }
  return {span.data_handle(), static_cast<std::int64_t>(span.extent(0))};
}

/// The same of two dimensions: `[rows, cols]` with adjacent columns, rows any distance apart.
template <class T, class Extents, class Layout>
requires(Extents::rank() == 2) matrix_view<T, device_memory> device_view(::cuda::std::mdspan<T, Extents, Layout> const& span) {
  if (span.extent(1) > 1 && span.stride(1) != 1) {
    throw error{errc::shape_mismatch, "device_view: columns must be adjacent, not " + std::to_string(span.stride(1)) + " apart"};
  }
  auto const rows = static_cast<std::int64_t>(span.extent(0)), cols = static_cast<std::int64_t>(span.extent(1));
  return {span.data_handle(), rows, cols, rows > 1 ? static_cast<std::int64_t>(span.stride(0)) : cols};
}

/// An mdspan of a device view, for other libraries.
template <class T>
auto as_mdspan(array_view<T, device_memory> view) {
  return ::cuda::std::mdspan<T, ::cuda::std::dextents<std::int64_t, 1>>{view.data(), view.size()};
}
template <class T>
auto as_mdspan(matrix_view<T, device_memory> view) {
  using extents = ::cuda::std::dextents<std::int64_t, 2>;
  using layout = ::cuda::std::layout_stride;
  typename layout::template mapping<extents> const mapping{extents{view.rows(), view.cols()},
                                                           ::cuda::std::array<std::int64_t, 2>{view.stride(), 1}};
  return ::cuda::std::mdspan<T, extents, layout>{view.data(), mapping};
}

CULL_NAMESPACE_END
