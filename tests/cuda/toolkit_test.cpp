// SPDX-License-Identifier: Apache-2.0
// What of the backend is host code on the toolkit's headers: device views from and to cuda::std::mdspan, and scratch memory from
// cuda::mr resources. Skipped where the toolkit is not installed.
#if __has_include(<cuda/std/mdspan>) && __has_include(<cuda_runtime_api.h>)

#define LIBCUDACXX_ENABLE_EXPERIMENTAL_MEMORY_RESOURCE
#include <cstdlib>
#include <type_traits>
#include <vector>

#include <cuda/memory_resource>

#include <doctest/doctest.h>
#include <cull/cuda/mdspan.cuh>
#include <cull/cuda/scratch.cuh>

namespace {

namespace std_cuda = cuda::std;

template <int Rank>
using strided = std_cuda::mdspan<float, std_cuda::dextents<long, Rank>, std_cuda::layout_stride>;

strided<1> row(float* data, long size, long stride) {
  using extents = std_cuda::dextents<long, 1>;
  return {data, std_cuda::layout_stride::mapping<extents>{extents{size}, std_cuda::array<long, 1>{stride}}};
}
strided<2> matrix(float* data, long rows, long cols, long row_stride, long column_stride) {
  using extents = std_cuda::dextents<long, 2>;
  return {data,
          std_cuda::layout_stride::mapping<extents>{extents{rows, cols}, std_cuda::array<long, 2>{row_stride, column_stride}}};
}

/// As resources of the toolkit's CCCL are: bytes and alignment before the stream, members not const.
struct log_of_calls {
  std::vector<std::size_t> bytes, alignments;
  std::vector<cudaStream_t> streams;
  int open = 0;
};
struct async_resource {
  log_of_calls* log;

  void* allocate(std::size_t, std::size_t) { return nullptr; }
  void deallocate(void*, std::size_t, std::size_t) {}
  void* allocate_async(std::size_t bytes, std::size_t alignment, cuda::stream_ref stream) {
    log->bytes.push_back(bytes);
    log->alignments.push_back(alignment);
    log->streams.push_back(stream.get());
    ++log->open;
    return std::aligned_alloc(alignment, bytes);
  }
  void deallocate_async(void* memory, std::size_t, std::size_t, cuda::stream_ref stream) {
    log->streams.push_back(stream.get());
    --log->open;
    std::free(memory);
  }
  bool operator==(async_resource const&) const = default;
};
/// As those of CCCL from 3.1 on: the stream first.
struct stream_first_resource {
  log_of_calls* log;
  void* allocate(cudaStream_t stream, std::size_t bytes, std::size_t alignment) {
    return async_resource{log}.allocate_async(bytes, alignment, stream);
  }
  void deallocate(cudaStream_t stream, void* memory, std::size_t bytes, std::size_t alignment) {
    async_resource{log}.deallocate_async(memory, bytes, alignment, stream);
  }
};
struct host_resource {
  void* allocate(std::size_t, std::size_t);
  void deallocate(void*, std::size_t, std::size_t);
};

static_assert(cuda::mr::async_resource<async_resource>);
static_assert(cull::scratch_resource<async_resource> && cull::scratch_resource<stream_first_resource> &&
              cull::scratch_resource<cull::stream_ordered_scratch>);
static_assert(!cull::scratch_resource<host_resource>);
static_assert(cull::scratch_resource<cuda::mr::async_resource_ref<cuda::mr::device_accessible>>);

}  // namespace

TEST_CASE("an mdspan of one dimension is a row of device memory, and back") {
  std::vector<float> memory(12);
  auto const view = cull::device_view(std_cuda::mdspan<float, std_cuda::dextents<long, 1>>{memory.data(), 7});
  static_assert(std::is_same_v<decltype(view), cull::array_view<float, cull::device_memory> const>);
  CHECK(view.data() == memory.data());
  CHECK(view.size() == 7);
  auto const back = cull::as_mdspan(view);
  CHECK(back.data_handle() == memory.data());
  CHECK(back.extent(0) == 7);
  CHECK(&back(3) == memory.data() + 3);
  CHECK(cull::device_view(row(memory.data(), 1, 5)).size() == 1);  // one element has no stride
  CHECK_THROWS_WITH_AS(cull::device_view(row(memory.data(), 6, 2)),
                       "device_view: elements of a row must be adjacent, not 2 apart", cull::error);
}

TEST_CASE("an mdspan of two dimensions is a matrix of device memory, its padding kept, and back") {
  std::vector<float> memory(64);
  auto const plain = cull::device_view(std_cuda::mdspan<float const, std_cuda::extents<int, 3, 5>>{memory.data()});
  static_assert(std::is_same_v<decltype(plain), cull::matrix_view<float const, cull::device_memory> const>);
  CHECK(plain.rows() == 3);
  CHECK(plain.cols() == 5);
  CHECK(plain.stride() == 5);
  auto const padded = cull::device_view(matrix(memory.data(), 3, 5, 8, 1));
  CHECK(padded.cols() == 5);
  CHECK(padded.stride() == 8);
  auto const back = cull::as_mdspan(padded);
  CHECK(back.extent(0) == 3);
  CHECK(back.extent(1) == 5);
  CHECK(back.stride(0) == 8);
  CHECK(&back(2, 4) == memory.data() + 20);
  CHECK(cull::device_view(back).stride() == 8);
  CHECK(cull::device_view(matrix(memory.data(), 1, 5, 99, 1)).stride() == 5);  // one row has no stride
  CHECK(cull::device_view(matrix(memory.data(), 4, 1, 8, 3)).stride() == 8);   // nor one column
  CHECK_THROWS_WITH_AS(cull::device_view(matrix(memory.data(), 3, 5, 1, 3)), "device_view: columns must be adjacent, not 3 apart",
                       cull::error);
}

TEST_CASE_TEMPLATE("scratch memory comes from a resource of either kind, on the stream", Resource, async_resource,
                   stream_first_resource) {
  log_of_calls log;
  Resource resource{&log};
  int place = 0;
  auto const stream = reinterpret_cast<cudaStream_t>(&place);
  void* const memory = cull::detail::allocate_scratch(resource, stream, 512, 256);
  CHECK(memory != nullptr);
  CHECK(log.bytes == std::vector<std::size_t>{512});
  CHECK(log.alignments == std::vector<std::size_t>{256});
  CHECK(log.open == 1);
  cull::detail::deallocate_scratch(resource, stream, memory, 512, 256);
  CHECK(log.streams == std::vector<cudaStream_t>{stream, stream});
  CHECK(log.open == 0);
}

#endif
