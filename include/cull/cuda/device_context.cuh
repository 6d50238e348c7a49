// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include <cull/cuda/context.hpp>
#include <cull/cuda/decode_block.hpp>
#include <cull/cuda/e2m1_table.hpp>
#include <cull/numeric/e2m1_rounding.hpp>
#include <cull/numeric/e4m3.hpp>

// Architectures that convert e2m1 in hardware: the plain sm_100 and sm_120 do not.
#if (defined(__CUDA_ARCH_SPECIFIC__) && __CUDA_ARCH_SPECIFIC__ >= 1000) || \
    (defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1000)
#define CULL_NATIVE_E2M1 1
#else
#define CULL_NATIVE_E2M1 0
#endif

CULL_NAMESPACE_BEGIN

namespace simt {

/// The device itself: each member is the instruction it is named after. Contract: `thread_context`.
struct device_context {
  __device__ unsigned thread() const { return threadIdx.x; }
  __device__ unsigned threads() const { return blockDim.x; }
  __device__ unsigned block() const { return blockIdx.x; }
  __device__ unsigned blocks() const { return gridDim.x; }
  __device__ unsigned block_y() const { return blockIdx.y; }
  __device__ unsigned blocks_y() const { return gridDim.y; }
  __device__ unsigned lane() const { return threadIdx.x % 32; }
  __device__ unsigned warp() const { return threadIdx.x / 32; }

  __device__ void sync() const { __syncthreads(); }
  __device__ void sync_warp(std::uint32_t mask = all_lanes) const { __syncwarp(mask); }
  template <class T>
  __device__ T shuffle(T value, unsigned lane, std::uint32_t mask = all_lanes) const {
    return __shfl_sync(mask, value, static_cast<int>(lane));
  }
  template <class T>
  __device__ T shuffle_xor(T value, unsigned bits, std::uint32_t mask = all_lanes) const {
    return __shfl_xor_sync(mask, value, static_cast<int>(bits));
  }
  __device__ std::uint32_t ballot(bool bit, std::uint32_t mask = all_lanes) const { return __ballot_sync(mask, bit); }
  __device__ bool any(bool bit, std::uint32_t mask = all_lanes) const { return __any_sync(mask, bit) != 0; }

  __device__ std::int32_t atomic_add(std::int32_t* p, std::int32_t v) const { return atomicAdd(p, v); }
  __device__ std::uint32_t atomic_add(std::uint32_t* p, std::uint32_t v) const { return atomicAdd(p, v); }
  // Two's complement: adding the bits adds the signed numbers.
  __device__ std::int64_t atomic_add(std::int64_t* p, std::int64_t v) const {
    return static_cast<std::int64_t>(atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v)));
  }
  __device__ std::uint64_t atomic_add(std::uint64_t* p, std::uint64_t v) const {
    return atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v));
  }
  __device__ std::uint32_t atomic_max(std::uint32_t* p, std::uint32_t v) const { return atomicMax(p, v); }
  __device__ std::uint64_t atomic_max(std::uint64_t* p, std::uint64_t v) const {
    return atomicMax(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v));
  }

  template <class T>
  __device__ std::remove_const_t<T> load(T* p, cached = {}) const {
    return *p;
  }
  template <class T>
  __device__ std::remove_const_t<T> load(T* p, streamed) const {
    using word = word_of<sizeof(T)>;
#if defined(__clang__)  // its CUDA headers know no cache hints
    auto const bits = *reinterpret_cast<word const*>(p);
#else
    auto const bits = __ldcs(reinterpret_cast<word const*>(p));
#endif
    return __builtin_bit_cast(std::remove_const_t<T>, bits);
  }
  template <class T>
  __device__ void store(T* p, T value, cached = {}) const {
    *p = value;
  }
  template <class T>
  __device__ void store(T* p, T value, streamed) const {
    using word = word_of<sizeof(T)>;
#if defined(__clang__)
    *reinterpret_cast<word*>(p) = __builtin_bit_cast(word, value);
#else
    __stcs(reinterpret_cast<word*>(p), __builtin_bit_cast(word, value));
#endif
  }
  template <class T>
  __device__ std::remove_const_t<T> load_shared(T* p) const {
    return *p;
  }
  template <class T>
  __device__ void store_shared(T* p, T value) const {
    *p = value;
  }
  template <class T>
  __device__ void declare_shared(T*, int) const {}

  __device__ float fma(float a, float b, float c) const { return __fmaf_rn(a, b, c); }
  __device__ double fma(double a, double b, double c) const { return __fma_rn(a, b, c); }
  __device__ float subtract(float a, float b) const { return __fsub_rn(a, b); }
  __device__ float reciprocal(float x) const {
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
  }
  __device__ float max_magnitude(float most, float x) const { return fmaxf(most, fabsf(x)); }

  template <int Bytes>
  __device__ void copy_async(void* to, void const* from, unsigned used = Bytes) const {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
    auto const shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
    if constexpr (Bytes == 16) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(used) : "memory");
    } else {
      asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(Bytes), "r"(used) : "memory");
    }
  }
  __device__ void commit_async() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int Pending>
  __device__ void wait_async() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
  }

  __device__ void mma_m16n8k16_bf16(float (&d)[4], std::uint32_t const (&a)[4], std::uint32_t const (&b)[2]) const {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }

  __device__ void unpack_e2m1(std::uint32_t codes, std::uint32_t (&out)[4]) const {
#if CULL_NATIVE_E2M1
    asm("{ .reg .b8 c0, c1, c2, c3; mov.b32 {c0, c1, c2, c3}, %4; cvt.rn.f16x2.e2m1x2 %0, c0; cvt.rn.f16x2.e2m1x2 %1, c1; "
        "cvt.rn.f16x2.e2m1x2 %2, c2; cvt.rn.f16x2.e2m1x2 %3, c3; }"
        : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
        : "r"(codes));
#else
    unpack_e2m1_by_table(codes, out, [](std::uint32_t low, std::uint32_t high, std::uint32_t selector) {
      return __byte_perm(low, high, selector);
    });
#endif
  }
  __device__ std::uint32_t pack_e2m1(float const (&v)[8]) const {
    std::uint32_t codes = 0;
#if CULL_NATIVE_E2M1
    asm("{ .reg .b8 c0, c1, c2, c3; cvt.rn.satfinite.e2m1x2.f32 c0, %2, %1; cvt.rn.satfinite.e2m1x2.f32 c1, %4, %3; "
        "cvt.rn.satfinite.e2m1x2.f32 c2, %6, %5; cvt.rn.satfinite.e2m1x2.f32 c3, %8, %7; mov.b32 %0, {c0, c1, c2, c3}; }"
        : "=r"(codes)
        : "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]), "f"(v[4]), "f"(v[5]), "f"(v[6]), "f"(v[7]));
#else
    CULL_UNROLL_FULLY
    for (int i = 7; i >= 0; --i) codes = codes * 16 + detail::round_to_e2m1(v[i], fminf(fabsf(v[i]), 6.0f));
#endif
    return codes;
  }
  __device__ std::uint8_t encode_e4m3(float value) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    std::uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(value));
    return static_cast<std::uint8_t>(pair);
#else
    return e4m3::encode(value).bits;
#endif
  }
  __device__ float decode_e4m3(std::uint8_t bits) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    std::uint32_t halves;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(static_cast<std::uint16_t>(bits)));
    return f32_of_f16(static_cast<std::uint16_t>(halves));
#else
    return decode_e4m3_by_product(bits);
#endif
  }
  __device__ std::uint32_t decode_e4m3x2(std::uint32_t pair) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    std::uint32_t halves;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(static_cast<std::uint16_t>(pair)));
    return bf16x2(f32_of_f16(static_cast<std::uint16_t>(halves)), f32_of_f16(static_cast<std::uint16_t>(halves >> 16)));
#else
    return bf16x2(decode_e4m3(static_cast<std::uint8_t>(pair)), decode_e4m3(static_cast<std::uint8_t>(pair >> 8)));
#endif
  }
  __device__ float f32_of_f16(std::uint16_t bits) const {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
  }
  __device__ std::uint32_t bf16x2(float low, float high) const {
    std::uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
  }

  __device__ std::uint32_t f16x2(float low, float high) const {
    std::uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
  }
  __device__ std::uint32_t multiply_bf16x2(std::uint32_t a, std::uint32_t b) const {
    std::uint32_t product;
    // Adding -0 changes no product; sm_80 has no multiplication of its own.
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
    return product;
  }
  // In this form it becomes part of the instruction that reads it.
  __device__ std::uint32_t twice_bf16(std::uint32_t pair, bool upper) const {
    std::uint32_t low, high;
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %2; mov.b32 %0, {l, l}; mov.b32 %1, {h, h}; }" : "=r"(low), "=r"(high) : "r"(pair));
    return upper ? high : low;
  }
  __device__ std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) const {
    return __byte_perm(a, b, selector);
  }
  __device__ std::uint32_t merge_bits(std::uint32_t mask, std::uint32_t a, std::uint32_t b) const {
    std::uint32_t merged;
    asm("lop3.b32 %0, %1, %2, %3, 0xca;" : "=r"(merged) : "r"(mask), "r"(a), "r"(b));
    return merged;
  }

 private:
  template <unsigned Bytes>
  static constexpr auto word_for() {
    if constexpr (Bytes == 1) return static_cast<unsigned char>(0);
    if constexpr (Bytes == 2) return static_cast<unsigned short>(0);
    if constexpr (Bytes == 4) return 0u;
    if constexpr (Bytes == 8) return uint2{};
    if constexpr (Bytes == 16) return uint4{};
  }
  template <unsigned Bytes>
  using word_of = decltype(word_for<Bytes>());
};

static_assert(thread_context<device_context>);

}  // namespace simt

CULL_NAMESPACE_END
