// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/executor.hpp>

CULL_NAMESPACE_BEGIN

/// Kernels as bodies: what a CUDA thread does, written against a context that stands for the device. `device_context`
/// (`device_context.cuh`) forwards to the hardware; the tests run the same bodies on a context of the host.
namespace simt {

/// `N` values that move as one, aligned to their size: the unit of a vector load or store of up to 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) pack {
  T values[N];

  CULL_HD constexpr T& operator[](int i) { return values[i]; }
  CULL_HD constexpr T const& operator[](int i) const { return values[i]; }
};

/// The bits of `from` as another type.
template <class To, class From>
CULL_HD inline To bits_as(From from) {
  return __builtin_bit_cast(To, from);
}

/// How global memory passes the caches: kept for others to use, or read or written once.
struct cached {};
struct streamed {};

/// All lanes of a warp. A partial last warp has fewer: the lanes that do not exist are not waited for.
inline constexpr std::uint32_t all_lanes = 0xffffffffu;

/// Blocks of a launch.
struct grid_size {
  unsigned x = 1;
  unsigned y = 1;
};

/// What a thread can ask and do. Masks name the lanes that meet; every lane named must arrive, and only those.
///
/// thread, threads, block, blocks, block_y, blocks_y: places in a one-dimensional block and a grid of two dimensions; lane, warp.
/// sync: of the block, which orders memory; sync_warp(mask): of these lanes, likewise. Shuffles and ballots do not order memory.
/// shuffle(value, lane, mask), shuffle_xor(value, bits, mask): the value of another lane; ballot(bit, mask), any(bit, mask).
/// load, store (global, a type of 1, 2, 4, 8 or 16 bytes, aligned to it, with `cached` or `streamed`), load_shared, store_shared;
/// declare_shared(values, count): this thread is about to read and write these without the context, in code that knows none.
/// atomic_add (int32, uint32, int64, uint64), atomic_max (uint32): relaxed; they return the value before.
/// fma: one rounding; subtract: one of its own, never fused with a product. reciprocal(x): within an ulp of 1 / x, both normal;
/// max_magnitude(most, x): the greater of `most` and |x|, numbers. copy_async<Bytes>(to shared, from global, used): 4, 8 or 16
/// bytes, of which those from `used` on become 0; commit_async, wait_async<N>: until at most N committed groups are under way,
/// for this thread: a sync makes them others'.
/// mma_m16n8k16_bf16(d, a, b): d += a b by a full warp, fragments as in PTX
/// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32`. unpack_e2m1(codes, out): 8 codes, lowest nibble first, to 4 words of
/// two f16 each; pack_e2m1(values): 8 numbers to 8 codes, to nearest even, saturating;
/// encode_e4m3(value), decode_e4m3(bits): as `e4m3`, the first of numbers; decode_e4m3x2(pair): those in the lower two bytes to
/// a pair of bf16; f32_of_f16(bits); bf16x2(low, high), f16x2(low, high): pack by rounding to nearest even (NaN to 0x7fff).
/// multiply_bf16x2(a, b): the products of two pairs of bf16, each rounded once; twice_bf16(pair, upper): one of a pair, twice;
/// merge_bits(mask, a, b): a's bits where the mask has ones, else b's; permute_bytes(a, b, selector): PTX `prmt.b32`.
template <class C>
concept thread_context = std::copy_constructible<C> &&
    requires(C const& c, std::uint32_t u, std::uint32_t* pu, std::int64_t* pi, float f, float* pf, float (&d)[4],
             std::uint32_t (&a)[4], std::uint32_t (&b)[2], float (&eight)[8], std::uint16_t h) {
  { c.thread() } -> std::same_as<unsigned>;
  { c.threads() } -> std::same_as<unsigned>;
  { c.block() } -> std::same_as<unsigned>;
  { c.blocks() } -> std::same_as<unsigned>;
  { c.block_y() } -> std::same_as<unsigned>;
  { c.blocks_y() } -> std::same_as<unsigned>;
  { c.lane() } -> std::same_as<unsigned>;
  { c.warp() } -> std::same_as<unsigned>;
  c.sync();
  c.sync_warp(u);
  { c.shuffle(f, u, u) } -> std::same_as<float>;
  { c.shuffle_xor(f, u, u) } -> std::same_as<float>;
  { c.ballot(true, u) } -> std::same_as<std::uint32_t>;
  { c.any(true, u) } -> std::same_as<bool>;
  { c.atomic_add(pi, std::int64_t{}) } -> std::same_as<std::int64_t>;
  { c.atomic_add(pu, u) } -> std::same_as<std::uint32_t>;
  { c.atomic_max(pu, u) } -> std::same_as<std::uint32_t>;
  { c.load(pf, streamed{}) } -> std::same_as<float>;
  { c.load(pf) } -> std::same_as<float>;
  c.store(pf, f, streamed{});
  c.store(pf, f);
  { c.load_shared(pf) } -> std::same_as<float>;
  c.store_shared(pf, f);
  c.declare_shared(pf, 1);
  { c.fma(f, f, f) } -> std::same_as<float>;
  { c.subtract(f, f) } -> std::same_as<float>;
  { c.reciprocal(f) } -> std::same_as<float>;
  { c.max_magnitude(f, f) } -> std::same_as<float>;
  c.template copy_async<16>(pf, pf, u);
  c.commit_async();
  c.template wait_async<1>();
  c.mma_m16n8k16_bf16(d, a, b);
  c.unpack_e2m1(u, a);
  { c.pack_e2m1(eight) } -> std::same_as<std::uint32_t>;
  { c.encode_e4m3(f) } -> std::same_as<std::uint8_t>;
  { c.decode_e4m3(std::uint8_t{}) } -> std::same_as<float>;
  { c.decode_e4m3x2(u) } -> std::same_as<std::uint32_t>;
  { c.f32_of_f16(h) } -> std::same_as<float>;
  { c.bf16x2(f, f) } -> std::same_as<std::uint32_t>;
  { c.f16x2(f, f) } -> std::same_as<std::uint32_t>;
  { c.multiply_bf16x2(u, u) } -> std::same_as<std::uint32_t>;
  { c.twice_bf16(u, true) } -> std::same_as<std::uint32_t>;
  { c.merge_bits(u, u, u) } -> std::same_as<std::uint32_t>;
  { c.permute_bytes(u, u, u) } -> std::same_as<std::uint32_t>;
};

/// A body that shares nothing within a block.
struct no_shared {};

/// A kernel: `threads` per block, its shared memory as a type (trivial: it starts as what the last block left there), its
/// parameters as data members or arguments of `operator()(context, shared, arguments...) const`.
template <class B>
concept kernel_body = std::is_trivially_copyable_v<B> && std::is_trivially_default_constructible_v<typename B::Shared> &&
    std::is_trivially_destructible_v<typename B::Shared> && requires {
  { B::threads } -> std::convertible_to<unsigned>;
};

/// An executor on whose memory bodies run: `launch(grid, body, arguments...)` enqueues and returns; `allocate(bytes)` and
/// `release(pointer, bytes)` are ordered with the launches, as are `fill_zero(to, bytes)`, `copy_in(to device, from host, bytes)`
/// and `copy_out(to host, from device, bytes)`; the host's side of a copy belongs to the executor until `synchronize()`.
template <class E>
concept device_executor = executor<E> && std::same_as<typename E::memory_space, device_memory> &&
    requires(E const& e, void* p, void const* q, std::size_t n) {
  { e.allocate(n) } -> std::same_as<void*>;
  e.release(p, n);
  e.fill_zero(p, n);
  e.copy_in(p, q, n);
  e.copy_out(p, q, n);
  e.synchronize();
};

}  // namespace simt

CULL_NAMESPACE_END
