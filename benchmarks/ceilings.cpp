// SPDX-License-Identifier: Apache-2.0
#include "ceilings.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>

#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/x86/amx_tiles.hpp>
#include <cull/cpu/x86/targets.hpp>

namespace benchmarks {
namespace {

template <class Byte, class Body>
void in_parts(std::span<Byte> bytes, int threads, Body const& body) {
  constexpr std::size_t unit = 4096;
  auto const units = bytes.size() / unit;
  cull::for_each_index(cull::on_cpu{threads}, threads, [&](std::int64_t part) {
    auto const n = static_cast<std::size_t>(threads), p = static_cast<std::size_t>(part);
    auto const first = units * p / n * unit, last = p + 1 == n ? bytes.size() : units * (p + 1) / n * unit;
    body(bytes.subspan(first, last - first));
  });
}

std::atomic<int> sink{0};  // keeps results alive

void read_plain(std::span<std::byte const> bytes) {
  std::uint64_t sum = 0, word = 0;
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    std::memcpy(&word, bytes.data() + i, 8);
    sum |= word;
  }
  sink += static_cast<int>(sum & 1u);
}

#if CULL_X86
CULL_TARGET_AVX2 void read_avx2(std::span<std::byte const> bytes) {
  auto const* p = reinterpret_cast<__m256i const*>(bytes.data());
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (auto const* const end = p + bytes.size() / 128 * 4; p != end; p += 4) {
    a = _mm256_or_si256(a, _mm256_loadu_si256(p));
    b = _mm256_or_si256(b, _mm256_loadu_si256(p + 1));
    c = _mm256_or_si256(c, _mm256_loadu_si256(p + 2));
    d = _mm256_or_si256(d, _mm256_loadu_si256(p + 3));
  }
  sink += _mm256_testz_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
}

CULL_TARGET_AVX2 void write_avx2(std::span<std::byte> bytes) {
  auto* p = reinterpret_cast<__m256i*>(bytes.data());
  auto const value = _mm256_set1_epi8(1);
  for (auto* const end = p + bytes.size() / 32; p != end; ++p) _mm256_stream_si256(p, value);
  _mm_sfence();
}

template <int chains>
CULL_TARGET_AVX2 float fma_avx2(std::int64_t steps) {
  __m256 a[chains];
  CULL_UNROLL(12)
  for (int i = 0; i < chains; ++i) a[i] = _mm256_setzero_ps();
  auto const x = _mm256_set1_ps(1.5f);
  for (std::int64_t k = 0; k < steps; ++k) {
    CULL_UNROLL(12)
    for (int i = 0; i < chains; ++i) {
      a[i] = _mm256_fmadd_ps(x, x, a[i]);
      asm volatile("" : "+x"(a[i]));
    }
  }
  return _mm256_cvtss_f32(a[0]);
}

CULL_TARGET_AVX512 float fma_avx512(std::int64_t steps) {
  __m512 a[24];
  CULL_UNROLL(24)
  for (int i = 0; i < 24; ++i) a[i] = _mm512_setzero_ps();
  auto const x = _mm512_set1_ps(1.5f);
  for (std::int64_t k = 0; k < steps; ++k) {
    CULL_UNROLL(24)
    for (int i = 0; i < 24; ++i) {
      a[i] = _mm512_fmadd_ps(x, x, a[i]);
      asm volatile("" : "+v"(a[i]));
    }
  }
  return _mm512_cvtss_f32(a[0]);
}

CULL_TARGET_AVX512_BF16 float dot_bf16(std::int64_t steps) {
  __m512 a[24];
  CULL_UNROLL(24)
  for (int i = 0; i < 24; ++i) a[i] = _mm512_setzero_ps();
  auto const x = _mm512_set1_epi32(0x3fc03fc0);
  for (std::int64_t k = 0; k < steps; ++k) {
    CULL_UNROLL(24)
    for (int i = 0; i < 24; ++i) {
      a[i] = _mm512_dpbf16_ps(a[i], (__m512bh)x, (__m512bh)x);
      asm volatile("" : "+v"(a[i]));
    }
  }
  return _mm512_cvtss_f32(a[0]);
}

float dot_tiles(std::int64_t steps) {
  using cull::detail::amx_tiles;
  alignas(64) float const zeros[16][16] = {};
  amx_tiles::configure();
  amx_tiles::load<4>(zeros, 64);
  amx_tiles::load<5>(zeros, 64);
  amx_tiles::load<6>(zeros, 64);
  amx_tiles::load<7>(zeros, 64);
  for (std::int64_t k = 0; k < steps; ++k) {
    amx_tiles::add_products<0, 4, 6>();
    amx_tiles::add_products<1, 4, 7>();
    amx_tiles::add_products<2, 5, 6>();
    amx_tiles::add_products<3, 5, 7>();
  }
  amx_tiles::release();
  return zeros[0][0];
}
#endif

}  // namespace

void stream_read(std::span<std::byte const> bytes, int threads) {
#if CULL_X86
  if (cull::best_isa() >= cull::isa::avx2) return in_parts(bytes, threads, read_avx2);
#endif
  in_parts(bytes, threads, read_plain);
}

void stream_write(std::span<std::byte> bytes, int threads) {
#if CULL_X86
  if (cull::best_isa() >= cull::isa::avx2) return in_parts(bytes, threads, write_avx2);
#endif
  in_parts(bytes, threads, [](std::span<std::byte> part) { std::memset(part.data(), 1, part.size()); });
}

void copy(std::span<std::byte const> from, std::span<std::byte> to, int threads) {
  in_parts(to, threads, [&](std::span<std::byte> part) {
    std::memcpy(part.data(), from.data() + (part.data() - to.data()), part.size());
    sink += static_cast<int>(part[0]) & 1;
  });
}

double peak_products(cull::isa level, product_kind kind, std::int64_t steps, int threads) {
  double operations = 0;
#if CULL_X86
  float (*run)(std::int64_t) = nullptr;
  if (level == cull::isa::amx_bf16 && kind == product_kind::bf16) {
    run = dot_tiles;
    operations = 4 * 16 * 16 * 64;
  } else if (level == cull::isa::avx512_bf16 && kind == product_kind::bf16) {
    run = dot_bf16;
    operations = 24 * 64;
  } else if (level >= cull::isa::avx512) {
    run = fma_avx512;
    operations = 24 * 32;
  } else if (level == cull::isa::avx2) {
    run = fma_avx2<12>;
    operations = 12 * 16;
  }
  if (run != nullptr) {
    cull::for_each_index(cull::on_cpu{threads}, threads, [&](std::int64_t) { sink += static_cast<int>(run(steps)) & 1; });
  }
#else
  (void)level, (void)kind;
#endif
  return operations * static_cast<double>(steps) * threads;
}

}  // namespace benchmarks
