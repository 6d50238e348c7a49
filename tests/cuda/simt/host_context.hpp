// SPDX-License-Identifier: Apache-2.0
// The thread context of the host: the members of `cull::simt::device_context`, each as CUDA's documentation states it.
#pragma once

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <cull/cuda/context.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>
#include <cull/numeric/f16.hpp>

#include "block.hpp"
#include "memory.hpp"
#include "race.hpp"
#include "trace.hpp"

namespace simt_test {

/// What a launch watches beside running; each may be absent.
struct watchers {
  race_detector* races = nullptr;
  memory_trace* trace = nullptr;
};

/// A `cp.async` that has been issued: it takes effect when it is waited for, as late as the hardware may do it.
struct pending_copy {
  unsigned group;
  void* to;
  unsigned size;
  unsigned char bytes[16];
};

/// What belongs to a thread besides its stack.
struct thread_extras {
  std::vector<pending_copy> copies;
  unsigned group = 0;
};

class host_context {
 public:
  using line = source_line;

  host_context(thread_block& b, std::uintptr_t shared, std::size_t shared_size, thread_extras* extras, watchers const& w)
      : block_(&b), shared_(shared), shared_size_(shared_size), extras_(extras), watchers_(w) {}

  unsigned thread() const { return block_->thread(); }
  unsigned threads() const { return block_->size(); }
  unsigned block() const { return block_->x(); }
  unsigned blocks() const { return block_->grid().x; }
  unsigned block_y() const { return block_->y(); }
  unsigned blocks_y() const { return block_->grid().y; }
  unsigned lane() const { return thread() % 32; }
  unsigned warp() const { return thread() / 32; }

  void sync(line at = {__builtin_FILE(), __builtin_LINE()}) const { block_->barrier(at); }
  void sync_warp(std::uint32_t mask = cull::simt::all_lanes) const {
    unsigned round = 0;
    block_->meet(meeting_kind::sync, mask, 0, round);
  }

  // A lane that does not exist gives an undefined value: a pattern.
  template <class T>
  SIMT_UNWATCHED T shuffle(T value, unsigned from, std::uint32_t mask = cull::simt::all_lanes) const {
    if (((mask >> (from % 32)) & 1u) == 0) throw fault{"a shuffle reads a lane that its mask leaves out" + block_->place()};
    unsigned round = 0;
    auto const& met = block_->meet(meeting_kind::shuffle, mask, value, round);
    return value_of<T>(met, round, from % 32);
  }
  template <class T>
  SIMT_UNWATCHED T shuffle_xor(T value, unsigned bits, std::uint32_t mask = cull::simt::all_lanes) const {
    return shuffle(value, lane() ^ bits, mask);
  }
  SIMT_UNWATCHED std::uint32_t ballot(bool bit, std::uint32_t mask = cull::simt::all_lanes) const {
    unsigned round = 0;
    auto const& met = block_->meet(meeting_kind::ballot, mask, static_cast<unsigned char>(bit), round);
    std::uint32_t out = 0;
    for (unsigned l = 0; l < 32; ++l) {
      if (((met.mask >> l) & 1u) != 0 && met.values[round][l][0] != 0) out |= 1u << l;
    }
    return out;
  }
  SIMT_UNWATCHED bool any(bool bit, std::uint32_t mask = cull::simt::all_lanes) const { return ballot(bit, mask) != 0; }

  template <class T>
  T atomic_add(T* p, T value, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    static_assert(std::is_integral_v<T>, "a sum of floats would depend on the order");
    note(p, sizeof(T), access_kind::atomic, at);
    return std::atomic_ref<T>(*p).fetch_add(value, std::memory_order_relaxed);
  }
  template <class T>
  T atomic_max(T* p, T value, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    static_assert(std::is_unsigned_v<T>);
    note(p, sizeof(T), access_kind::atomic, at);
    std::atomic_ref<T> const target(*p);
    T before = target.load(std::memory_order_relaxed);
    while (before < value && !target.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
    }
    return before;
  }

  template <class T, class Hint = cull::simt::cached>
  std::remove_const_t<T> load(T* p, Hint = {}, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    note(p, sizeof(T), access_kind::read, at);
    return *p;
  }
  template <class T, class Hint = cull::simt::cached>
  void store(T* p, std::type_identity_t<T> value, Hint = {}, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    note(p, sizeof(T), access_kind::write, at);
    *p = value;
  }
  template <class T>
  std::remove_const_t<T> load_shared(T* p, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    note_shared(p, sizeof(T), access_kind::read, at);
    return *p;
  }
  template <class T>
  void store_shared(T* p, std::type_identity_t<T> value, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    note_shared(p, sizeof(T), access_kind::write, at);
    *p = value;
  }
  template <class T>
  void declare_shared(T* p, int count, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    check_shared(p, static_cast<std::size_t>(count) * sizeof(T), at);
    if (watchers_.races == nullptr) return;
    watchers_.races->note(*block_, reinterpret_cast<std::uintptr_t>(p), static_cast<std::size_t>(count) * sizeof(T),
                          access_kind::write);
  }

  float fma(float a, float b, float c) const { return std::fma(a, b, c); }
  double fma(double a, double b, double c) const { return std::fma(a, b, c); }
  float subtract(float a, float b) const { return a - b; }
  /// As far off as PTX lets `rcp.approx` be, by turns.
  float reciprocal(float x) const {
    float const nearest = 1.0f / x;
    auto const turn = std::bit_cast<std::uint32_t>(x) % 3u;
    return turn == 0 ? nearest : std::nextafter(nearest, turn == 1 ? 0.0f : 0x1p127f);
  }
  float max_magnitude(float most, float x) const { return std::max(most, std::abs(x)); }

  template <int Bytes>
  void copy_async(void* to, void const* from, unsigned used = Bytes, line at = {__builtin_FILE(), __builtin_LINE()}) const {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
    if (used > 0) check_range(from, used, "global");
    if (used > 0) watch(from, used, access_kind::read, at, space::global);
    if ((reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) % Bytes != 0) {
      throw fault{"an asynchronous copy is not aligned to its size" + block_->place()};
    }
    note_shared(to, Bytes, access_kind::write, at);
    pending_copy copy{extras().group, to, Bytes, {}};
    std::memcpy(copy.bytes, from, used);
    extras().copies.push_back(copy);
    std::memset(to, 0xcb, Bytes);
    if (watchers_.races != nullptr) watchers_.races->begin_copy(reinterpret_cast<std::uintptr_t>(to), Bytes);
  }
  void commit_async() const { ++extras().group; }
  template <int Pending>
  void wait_async(line at = {__builtin_FILE(), __builtin_LINE()}) const {
    auto& mine = extras();
    std::erase_if(mine.copies, [&](pending_copy const& copy) {
      if (mine.group - copy.group <= static_cast<unsigned>(Pending)) return false;
      if (watchers_.races != nullptr) watchers_.races->end_copy(reinterpret_cast<std::uintptr_t>(copy.to), copy.size);
      watch(copy.to, copy.size, access_kind::write, at, space::shared);
      std::memcpy(copy.to, copy.bytes, copy.size);
      return true;
    });
  }

  /// f32 accumulation in ascending k from the accumulator: one order of many that the hardware may take.
  void mma_m16n8k16_bf16(float (&d)[4], std::uint32_t const (&a)[4], std::uint32_t const (&b)[2]) const {
    struct fragment {
      std::uint32_t a[4], b[2];
      float d[4];
    } mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}};
    unsigned round = 0;
    auto const& met = block_->meet(meeting_kind::mma, cull::simt::all_lanes, mine, round);
    if (met.mask != cull::simt::all_lanes) throw fault{"mma by a warp that is not full" + block_->place()};
    // Of this lane's sums: rows lane / 4 and that + 8, columns 2 * (lane % 4) and that + 1; four lanes hold a row or a column.
    fragment rows[4], columns[2][4];
    for (unsigned t = 0; t < 4; ++t) {
      rows[t] = value_of<fragment>(met, round, lane() / 4 * 4 + t);
      for (unsigned j = 0; j < 2; ++j) columns[j][t] = value_of<fragment>(met, round, 4 * (2 * (lane() % 4) + j) + t);
    }
    for (unsigned i = 0; i < 4; ++i) {
      float sum = d[i];
      for (unsigned k = 0; k < 16; ++k) {
        auto const left = rows[k % 8 / 2].a[i / 2 + 2 * (k / 8)];
        auto const right = columns[i % 2][k % 8 / 2].b[k / 8];
        float const product = half_of(left, k % 2) * half_of(right, k % 2);  // exact
        sum += product;
      }
      d[i] = sum;
    }
  }

  void unpack_e2m1(std::uint32_t codes, std::uint32_t (&out)[4]) const {
    for (unsigned i = 0; i < 4; ++i) {
      out[i] = f16_code(codes >> (8 * i)) | (f16_code(codes >> (8 * i + 4)) << 16);
    }
  }
  std::uint32_t pack_e2m1(float const (&values)[8]) const {
    std::uint32_t codes = 0;
    for (unsigned i = 0; i < 8; ++i) codes |= std::uint32_t{cull::e2m1::encode(values[i]).bits} << (4 * i);
    return codes;
  }
  std::uint8_t encode_e4m3(float value) const { return cull::e4m3::encode(value).bits; }
  float decode_e4m3(std::uint8_t bits) const { return cull::e4m3{bits}.decode(); }
  std::uint32_t decode_e4m3x2(std::uint32_t pair) const {
    return bf16x2(decode_e4m3(static_cast<std::uint8_t>(pair)), decode_e4m3(static_cast<std::uint8_t>(pair >> 8)));
  }
  float f32_of_f16(std::uint16_t bits) const { return cull::f16{bits}.decode(); }
  std::uint32_t bf16x2(float low, float high) const { return bf16_code(low) | (bf16_code(high) << 16); }
  std::uint32_t f16x2(float low, float high) const { return half_code(low) | (half_code(high) << 16); }
  std::uint32_t multiply_bf16x2(std::uint32_t a, std::uint32_t b) const {
    return bf16x2(half_of(a, 0) * half_of(b, 0),
                  half_of(a, 1) * half_of(b, 1));  // products of two bf16 are exact in f32 or beneath it
  }
  std::uint32_t twice_bf16(std::uint32_t pair, bool upper) const { return (upper ? pair >> 16 : pair & 0xffffu) * 0x10001u; }
  std::uint32_t merge_bits(std::uint32_t mask, std::uint32_t a, std::uint32_t b) const { return (a & mask) | (b & ~mask); }
  std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) const {
    auto const bytes = std::uint64_t{b} << 32 | a;
    std::uint32_t out = 0;
    for (unsigned i = 0; i < 4; ++i) {
      auto const which = selector >> (4 * i) & 15u;
      auto const byte = static_cast<std::uint32_t>(bytes >> (8 * (which & 7u))) & 0xffu;
      out |= ((which & 8u) == 0 ? byte : byte >> 7 != 0 ? 0xffu : 0u) << (8 * i);  // or its sign, eight times
    }
    return out;
  }

 private:
  template <class T>
  SIMT_UNWATCHED static T value_of(meeting const& met, unsigned round, unsigned lane) {
    T out;
    if (((met.mask >> lane) & 1u) == 0) {
      std::memset(static_cast<void*>(&out), 0xcb, sizeof(T));
      return out;
    }
    copy_unwatched(&out, met.values[round][lane], sizeof(T));
    return out;
  }
  static float half_of(std::uint32_t pair, unsigned upper) {
    return std::bit_cast<float>(upper != 0 ? pair & 0xffff0000u : pair << 16);
  }
  static std::uint32_t f16_code(std::uint32_t nibble) {
    return cull::f16::encode(cull::e2m1{static_cast<std::uint8_t>(nibble & 15u)}.decode()).bits;
  }
  static std::uint32_t half_code(float value) { return std::isnan(value) ? 0x7fffu : cull::f16::encode(value).bits; }
  static std::uint32_t bf16_code(float value) { return std::isnan(value) ? 0x7fffu : cull::bf16::encode(value).bits; }

  void note(void const* p, std::size_t bytes, access_kind kind, line at) const {
    auto const address = reinterpret_cast<std::uintptr_t>(p);
    if (address >= shared_ && address < shared_ + shared_size_) return note_shared(p, bytes, kind, at);  // an atomic's
    check_range(p, bytes, "global");
    if (address % bytes != 0) throw fault{"an access of global memory is not aligned to its size" + block_->place()};
    watch(p, bytes, kind, at, space::global);
  }
  void note_shared(void const* p, std::size_t bytes, access_kind kind, line at) const {
    check_shared(p, bytes, at);
    watch(p, bytes, kind, at, space::shared);
  }
  void check_shared(void const* p, std::size_t bytes, line at) const {
    auto const address = reinterpret_cast<std::uintptr_t>(p);
    if (address < shared_ || address + bytes > shared_ + shared_size_) {
      throw fault{"an access of shared memory is out of range at " + at.text() + block_->place()};
    }
  }
  // Not under the thread sanitizer: the lock of the list would order what is not ordered.
  void check_range([[maybe_unused]] void const* p, [[maybe_unused]] std::size_t bytes, [[maybe_unused]] char const* what) const {
#if !defined(SIMT_TSAN)
    auto const address = reinterpret_cast<std::uintptr_t>(p);
    auto const [begin, end] = allocations::all().around(address);
    if (begin == end || address + bytes > end)
      throw fault{std::string{"an access of "} + what + " memory is out of range" + block_->place()};
#endif
  }
  void watch(void const* p, std::size_t bytes, access_kind kind, line at, space where) const {
    auto const address = reinterpret_cast<std::uintptr_t>(p);
    if (watchers_.races != nullptr) watchers_.races->note(*block_, address, bytes, kind);
    if (watchers_.trace != nullptr) watchers_.trace->note(*block_, address, bytes, kind, at, where);
  }
  thread_extras& extras() const { return extras_[block_->thread()]; }

  thread_block* block_;
  std::uintptr_t shared_;
  std::size_t shared_size_;
  thread_extras* extras_;
  watchers watchers_;
};

static_assert(cull::simt::thread_context<host_context>);

}  // namespace simt_test
