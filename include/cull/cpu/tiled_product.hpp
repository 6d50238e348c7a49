// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/aligned_buffer.hpp>
#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/row_decoder.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The columns of a product in chunks, each padded for a kernel.
template <class Kernel>
struct chunked_columns {
  std::int64_t columns = 0;

  /// Elements between rows of a chunk: a line more than the chunk, so that rows do not share cache sets.
  static constexpr std::int64_t stride = Kernel::chunk + 64 / static_cast<std::int64_t>(sizeof(typename Kernel::element));

  std::int64_t chunks() const { return (columns + Kernel::chunk - 1) / Kernel::chunk; }
  std::int64_t first(std::int64_t chunk) const { return chunk * Kernel::chunk; }
  std::int64_t size(std::int64_t chunk) const { return std::min(Kernel::chunk, columns - first(chunk)); }
  std::int64_t padded(std::int64_t chunk) const { return (size(chunk) + Kernel::group - 1) / Kernel::group * Kernel::group; }
};

/// Activations [tokens, K] in a kernel's order: tiles of tokens, the last one filled up with zeros, and in them chunks.
template <class Kernel>
class token_panel {
 public:
  using element = typename Kernel::element;

  /// `x(t, first, size, out)` writes columns of a token as f32.
  template <class Source>
  void fill(on_cpu const& exec, std::int64_t tokens, std::int64_t columns, Source const& x) {
    columns_ = {columns};
    tokens_ = tokens;
    values_.reserve(tiles() * tile_size());
    for_each_index(exec, tiles(), [&](std::int64_t tile) {
      for (std::int64_t c = 0; c < columns_.chunks(); ++c) {
        for (int t = 0; t < Kernel::tokens; ++t) fill_row(tile * Kernel::tokens + t, c, at(tile, c) + t * stride(), x);
        if constexpr (requires { Kernel::interleave(at(tile, c), stride(), columns_.padded(c)); })
          Kernel::interleave(at(tile, c), stride(), columns_.padded(c));
      }
    });
  }

  chunked_columns<Kernel> const& columns() const { return columns_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t tiles() const { return (tokens_ + Kernel::tokens - 1) / Kernel::tokens; }
  static constexpr std::int64_t stride() { return chunked_columns<Kernel>::stride; }
  element* at(std::int64_t tile, std::int64_t chunk) const {
    return values_.data() + tile * tile_size() + chunk * Kernel::tokens * stride();
  }

 private:
  std::int64_t tile_size() const { return columns_.chunks() * Kernel::tokens * stride(); }

  template <class Source>
  void fill_row(std::int64_t token, std::int64_t chunk, element* out, Source const& x) const {
    auto const size = columns_.size(chunk);
    if (token >= tokens_) {
      std::fill(out, out + columns_.padded(chunk), element{0});
      return;
    }
    float row[Kernel::chunk];
    x(token, columns_.first(chunk), size, row);
    pack_padded<Kernel>(row, size, columns_.padded(chunk), out);
  }

  chunked_columns<Kernel> columns_;
  std::int64_t tokens_ = 0;
  aligned_buffer<element> values_;
};

/// Calls `f(token, row, place in sums)` for the outputs of consecutive tiles that exist, row by row within a token.
template <class Kernel, class F>
void for_each_output(std::int64_t strip, std::int64_t first_tile, std::int64_t tiles, std::int64_t rows, std::int64_t tokens,
                     F&& f) {
  auto const first = first_tile * Kernel::tokens;
  auto const last = std::min(tokens, first + tiles * Kernel::tokens);
  auto const last_row = std::min<std::int64_t>(Kernel::rows, rows - strip * Kernel::rows);
  for (std::int64_t t = first; t < last; ++t) {
    for (std::int64_t r = 0; r < last_row; ++r) f(t, strip * Kernel::rows + r, (t - first) * Kernel::rows + r);
  }
}

/// Products of a panel with weight rows, in strips of `Kernel::rows`: `source(strip, r, first, columns, out)` writes a piece of
/// one row in the kernel's order, `finish(strip, first_tile, tiles, sums)` gets the finished `sums[tile][t * rows + r]` of
/// consecutive tiles, strip after strip; where `source.together` is 2 those of an odd strip lie behind those of the even one.
///
/// Every output is the sum over chunks, ascending, of the chunk's one order, so it does not depend on tokens, tiles or threads.
template <class Kernel>
class tiled_product {
 public:
  static constexpr std::int64_t tokens_at_once = 128;  // whose chunk stays in L2

  explicit tiled_product(token_panel<Kernel> const& x) : x_(x) {}

  template <class Source, class Finish>
  void run(std::int64_t first_strip, std::int64_t last_strip, Source const& source, Finish const& finish) {
    constexpr std::int64_t block = tokens_at_once / Kernel::tokens;
    for (std::int64_t tile = 0; tile < x_.tiles(); tile += block) {
      run_block(first_strip, last_strip, tile, std::min(tile + block, x_.tiles()), source, finish);
    }
  }

 private:
  static constexpr std::int64_t sums_size = Kernel::tokens * Kernel::rows;

  template <class Source, class Finish>
  void run_block(std::int64_t first_strip, std::int64_t last_strip, std::int64_t first_tile, std::int64_t last_tile,
                 Source const& source, Finish const& finish) {
    auto const chunks = x_.columns().chunks();
    bool const few = (last_tile - first_tile) * Kernel::tokens <= Kernel::few_tokens;
    auto const strips_at_once = few ? std::int64_t{Source::together} : last_strip - first_strip;
    auto const apart = (last_tile - first_tile) * sums_size;
    float* const sums = sums_.reserve(strips_at_once * apart);
    for (std::int64_t strip = first_strip; strip < last_strip; strip += strips_at_once) {
      for (std::int64_t c = 0; c < chunks; ++c) {
        for (std::int64_t s = strip; s < strip + strips_at_once; ++s) {
          float* const to = sums + (s - strip) * apart;
          run_chunk(s, c, first_tile, last_tile, source, to);
          if (c + 1 == chunks) finish(s, first_tile, last_tile - first_tile, to);
        }
      }
    }
  }

  template <class Source>
  void run_chunk(std::int64_t strip, std::int64_t chunk, std::int64_t first_tile, std::int64_t last_tile, Source const& source,
                 float* sums) {
    auto const& k = x_.columns();
    auto* const rows = rows_.reserve(Kernel::rows * k.stride);
    for (int r = 0; r < Kernel::rows; ++r) source(strip, r, k.first(chunk), k.size(chunk), rows + r * k.stride);
    for (std::int64_t tile = first_tile; tile < last_tile; ++tile, sums += sums_size) {
      Kernel::multiply(x_.at(tile, chunk), k.stride, rows, k.stride, k.padded(chunk), sums, chunk == 0);
    }
  }

  token_panel<Kernel> const& x_;
  aligned_buffer<float> sums_;
  aligned_buffer<typename Kernel::element> rows_;
};

}  // namespace detail

CULL_NAMESPACE_END
