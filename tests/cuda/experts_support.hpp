// SPDX-License-Identifier: Apache-2.0
// NVFP4 and MXFP4 experts with random bytes, on the host and in the tests' device memory, and what their outputs must be within.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include <cull/cuda/run_experts.hpp>
#include <cull/tensor/nvfp4.hpp>

#include "simt/on_simt.hpp"

namespace cuda_tests {

/// What decoders of weights need of a context, with products of bf16 in f32, rounded once.
struct decoding_context {
  static float half_of(std::uint32_t pair, unsigned half) {
    return cull::bf16{static_cast<std::uint16_t>(pair >> (16 * half))}.decode();
  }
  std::uint32_t bf16x2(float low, float high) const {
    return std::uint32_t{cull::bf16::encode(low).bits} | std::uint32_t{cull::bf16::encode(high).bits} << 16;
  }
  std::uint32_t multiply_bf16x2(std::uint32_t a, std::uint32_t b) const {
    return bf16x2(half_of(a, 0) * half_of(b, 0), half_of(a, 1) * half_of(b, 1));
  }
  std::uint32_t twice_bf16(std::uint32_t pair, bool upper) const { return (upper ? pair >> 16 : pair & 0xffffu) * 0x10001u; }
  std::uint32_t merge_bits(std::uint32_t mask, std::uint32_t a, std::uint32_t b) const { return (a & mask) | (b & ~mask); }
  bool any(bool bit, std::uint32_t) const { return bit; }
  std::uint32_t decode_e4m3x2(std::uint32_t pair) const {
    auto const one = [&](std::uint32_t code) { return cull::simt::decode_e4m3_by_product(static_cast<std::uint8_t>(code)); };
    return bf16x2(one(pair), one(pair >> 8));
  }
  std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) const {
    std::uint32_t out = 0;
    for (unsigned i = 0; i < 4; ++i) {
      auto const which = selector >> (4 * i) & 7u;
      out |= ((which < 4 ? a : b) >> (8 * (which % 4)) & 0xffu) << (8 * i);
    }
    return out;
  }
};

/// 8 codes by a factor, in their order.
template <class Decoder>
std::array<float, 8> decoded(std::uint32_t codes, std::uint32_t factor) {
  decoding_context const c;
  std::uint32_t out[4];
  Decoder::decode(c, codes, factor, out);
  std::array<float, 8> values{};
  for (std::size_t i = 0; i < 8; ++i) values[i] = c.half_of(out[i % 4], static_cast<unsigned>(i) / 4);
  return values;
}

/// 8 codes as the kernels for 64 tokens decode them, by the scale of the upper or lower of two rows.
template <class Decoder>
std::array<float, 8> decoded_by_rows(std::uint32_t codes, std::uint8_t scale, std::uint8_t other, bool upper) {
  decoding_context const c;
  auto const factors = upper ? Decoder::factors_of_rows(c, other, scale) : Decoder::factors_of_rows(c, scale, other);
  return decoded<Decoder>(codes, c.twice_bf16(factors, upper));
}

/// And as those for 8 tokens do, lane `quad` of four in a stage of two: row `row` of four has that scale there, all others are
/// `other`.
template <class Decoder>
std::array<float, 8> decoded_in_turn(std::uint32_t codes, std::uint8_t scale, std::uint8_t other, int row, unsigned quad,
                                     unsigned stage) {
  decoding_context const c;
  constexpr unsigned words = Decoder::turn_words;
  std::uint32_t scales[4][words];
  for (auto& of_row : scales) std::fill_n(of_row, words, other * 0x01010101u);
  unsigned const byte = words == 2 ? 4 * stage + quad : 2 * stage + quad / 2;
  scales[row][byte / 4] ^= static_cast<std::uint32_t>(scale ^ other) << (8 * (byte % 4));
  auto const by = [&](auto decoder) {
    using chosen = decltype(decoder);
    return decoded<chosen>(codes, c.twice_bf16(chosen::factors_of_turn(c, scales, quad).of[row], stage != 0));
  };
  if constexpr (requires { Decoder::suits(c, scales); }) {
    return Decoder::suits(c, scales) ? by(Decoder{}) : by(typename Decoder::careful{});
  } else {
    return by(Decoder{});
  }
}

/// Matrices go by the dialect of NVFP4, or by another format.
template <class Dialect>
struct format_named {
  using type = cull::nvfp4<Dialect>;
  static constexpr int least_scale = 0, greatest_scale = 0x48;
};
template <>
struct format_named<cull::mxfp4> {
  using type = cull::mxfp4;
  static constexpr int least_scale = 0x74, greatest_scale = 0x80;
};
template <class Dialect>
using format_of = typename format_named<Dialect>::type;
template <class Dialect>
using device_matrix = cull::matrix<format_of<Dialect>, cull::device_memory>;
template <class Dialect>
using device_expert = cull::gated_expert<device_matrix<Dialect>>;

/// A matrix of random codes and block scales, subnormal and zero scales among them.
template <class Dialect>
struct random_matrix {
  using format = format_of<Dialect>;
  static constexpr std::int64_t group = format::group;
  std::int64_t rows, cols;
  float tensor_scale;
  std::vector<std::uint8_t> codes, scales;
  simt_test::device_array<std::uint8_t> device_codes, device_scales;

  /// `m` with zeros beyond its rows and columns.
  random_matrix(random_matrix const& m, std::int64_t r, std::int64_t c)
      : rows(r),
        cols(c),
        tensor_scale(m.tensor_scale),
        codes(padded(m.codes, m.rows, m.cols / 2, r, c / 2)),
        scales(padded(m.scales, m.rows, m.cols / group, r, c / group)),
        device_codes(codes),
        device_scales(scales) {}
  /// Given bytes, a tensor scale of 1.
  random_matrix(std::int64_t r, std::int64_t c, std::vector<std::uint8_t> the_codes, std::vector<std::uint8_t> the_scales)
      : rows(r),
        cols(c),
        tensor_scale(1.0f),
        codes(std::move(the_codes)),
        scales(std::move(the_scales)),
        device_codes(codes),
        device_scales(scales) {}
  random_matrix(std::int64_t r, std::int64_t c, std::mt19937& random)
      : rows(r),
        cols(c),
        tensor_scale(std::is_same_v<Dialect, cull::modelopt> ? 0.011f : 97.0f),
        codes(bytes(static_cast<std::size_t>(r * c / 2), random, 0, 255)),
        scales(bytes(static_cast<std::size_t>(r * c / group), random, format_named<Dialect>::least_scale,
                     format_named<Dialect>::greatest_scale)),
        device_codes(codes),
        device_scales(scales) {}

  cull::matrix<format> host() const { return {parts_at(codes.data(), scales.data()), rows, cols}; }
  device_matrix<Dialect> device() const { return {parts_at(device_codes.data(), device_scales.data()), rows, cols}; }
  std::vector<double> values() const {
    std::vector<double> out(static_cast<std::size_t>(rows * cols));
    double const outer = format::outer_scale(host().parts);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t g = 0; g < cols / group; ++g) {
        float decoded[group];
        format::decode_group(host().parts, r, g, decoded);
        for (std::int64_t i = 0; i < group; ++i)
          out[static_cast<std::size_t>(r * cols + group * g + i)] = static_cast<double>(decoded[i]) * outer;
      }
    }
    return out;
  }

 private:
  typename format::parts parts_at(std::uint8_t const* codes_at, std::uint8_t const* scales_at) const {
    if constexpr (std::is_same_v<Dialect, cull::mxfp4>) {
      return {codes_at, scales_at, cols, 1};
    } else {
      return {codes_at, scales_at, tensor_scale, cols, 1};
    }
  }
  static std::vector<std::uint8_t> padded(std::vector<std::uint8_t> const& from, std::int64_t rows, std::int64_t bytes,
                                          std::int64_t to_rows, std::int64_t to_bytes) {
    std::vector<std::uint8_t> out(static_cast<std::size_t>(to_rows * to_bytes));
    for (std::int64_t r = 0; r < rows; ++r) std::copy_n(from.begin() + r * bytes, bytes, out.begin() + r * to_bytes);
    return out;
  }
  static std::vector<std::uint8_t> bytes(std::size_t count, std::mt19937& random, int low, int high) {
    std::uniform_int_distribution<int> any{low, high};
    std::vector<std::uint8_t> out(count);
    for (auto& b : out) b = static_cast<std::uint8_t>(any(random));
    return out;
  }
};

/// Experts of one layer.
template <class Dialect = cull::modelopt>
struct layer {
  struct bias {
    std::vector<float> gate, up, down;
    std::size_t first;  // elements before them in device memory
    simt_test::device_array<float> device_gate{after(first, gate)}, device_up{after(first, up)}, device_down{after(first, down)};

    static std::vector<float> after(std::size_t first, std::vector<float> values) {
      values.insert(values.begin(), first, 0.0f);
      return values;
    }
    cull::array_view<float const, cull::device_memory> view(simt_test::device_array<float> const& all) const {
      return {all.data() + first, static_cast<std::int64_t>(all.size() - first)};
    }
  };
  struct expert {
    random_matrix<Dialect> gate, up, down;
    std::optional<bias> biases = {};
  };
  std::int64_t hidden, width;
  std::vector<expert> experts;

  layer(int count, std::int64_t h, std::int64_t w, bool gated = true, unsigned seed = 7) : hidden(h), width(w) {
    std::mt19937 random{seed};
    for (int e = 0; e < count; ++e) {
      random_matrix<Dialect> gate{gated ? w : 0, h, random}, up{w, h, random}, down{h, w, random};
      experts.push_back({std::move(gate), std::move(up), std::move(down)});
    }
  }
  void add_biases(std::size_t first = 0) {
    std::mt19937 random{5};
    std::normal_distribution<float> normal{0.0f, 2.0f};
    for (auto& e : experts) {
      auto const values = [&](std::int64_t size) {
        std::vector<float> out(static_cast<std::size_t>(size));
        for (auto& v : out) v = normal(random);
        return out;
      };
      e.biases.emplace(bias{values(e.gate.rows), values(width), values(hidden), first});
    }
  }
  std::vector<cull::gated_expert<cull::matrix<format_of<Dialect>>>> host() const {
    std::vector<cull::gated_expert<cull::matrix<format_of<Dialect>>>> out;
    for (auto const& e : experts) {
      out.push_back({e.gate.host(), e.up.host(), e.down.host()});
      if (!e.biases) continue;
      out.back().gate_bias = e.biases->gate;
      out.back().up_bias = e.biases->up;
      out.back().down_bias = e.biases->down;
    }
    return out;
  }
  /// The same experts, padded by zeros to multiples of 64.
  layer padded() const {
    auto const up = [](std::int64_t size) { return (size + 63) / 64 * 64; };
    layer out{0, up(hidden), up(width)};
    for (auto const& e : experts) {
      out.experts.push_back({{e.gate, e.gate.rows > 0 ? out.width : 0, out.hidden},
                             {e.up, out.width, out.hidden},
                             {e.down, out.hidden, out.width}});
    }
    return out;
  }
  std::vector<device_expert<Dialect>> device() const {
    std::vector<device_expert<Dialect>> out;
    for (auto const& e : experts) {
      out.push_back({e.gate.device(), e.up.device(), e.down.device()});
      if (!e.biases) continue;
      out.back().gate_bias = e.biases->view(e.biases->device_gate);
      out.back().up_bias = e.biases->view(e.biases->device_up);
      out.back().down_bias = e.biases->view(e.biases->device_down);
    }
    return out;
  }
};

/// Hidden states and a routing with ascending ids of a row.
struct batch {
  /// The same tokens, wider by zeros.
  batch padded(std::int64_t to) const {
    batch out = *this;
    out.hidden = to;
    out.x.assign(static_cast<std::size_t>(tokens * to), 0.0f);
    for (std::int64_t t = 0; t < tokens; ++t) std::copy_n(x.begin() + t * hidden, hidden, out.x.begin() + t * to);
    return out;
  }

  std::int64_t tokens, hidden, k;
  std::vector<float> x, weights;
  std::vector<std::int32_t> ids;

  batch(std::int64_t t, std::int64_t h, std::int64_t chosen, int experts, unsigned seed = 3) : tokens(t), hidden(h), k(chosen) {
    std::mt19937 random{seed};
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < t * h; ++i) x.push_back(normal(random) * (i % 7 == 0 ? 8.0f : 0.5f));
    for (std::int64_t i = 0; i < t; ++i) {
      std::vector<std::int32_t> all(static_cast<std::size_t>(experts));
      for (int e = 0; e < experts; ++e) all[static_cast<std::size_t>(e)] = e;
      std::shuffle(all.begin(), all.end(), random);
      std::sort(all.begin(), all.begin() + chosen);
      ids.insert(ids.end(), all.begin(), all.begin() + chosen);
      for (std::int64_t j = 0; j < chosen; ++j) weights.push_back(0.25f + 0.125f * static_cast<float>(j));
    }
  }
};

struct bounded {
  double value, error;
};

/// An activation in f64: gate(g) * up(u), slopes up to 1.2 and 1; without a gate it is gate(u).
struct activation_f64 {
  std::function<double(double)> gate = [](double g) { return g / (1.0 + std::exp(-g)); };
  std::function<double(double)> up = [](double u) { return u; };
};

/// f_j(x) in f64 and how far a product with |error| <= `factor(K)` * sum |w x| may take it.
template <class Precision, class Dialect, class Factor>
std::vector<bounded> reference(typename layer<Dialect>::expert const& e, std::vector<float> const& x, Factor factor,
                               activation_f64 const& act = {}) {
  auto const rows = [](std::vector<double> const& m, std::vector<float> const* bias, std::vector<bounded> const& in,
                       double relative) {
    std::vector<bounded> out(m.size() / in.size());
    for (std::size_t r = 0; r < out.size(); ++r) {
      double sum = 0, magnitude = 0, error = 0;
      for (std::size_t c = 0; c < in.size(); ++c) {
        auto const w = m[r * in.size() + c];
        sum += w * in[c].value;
        magnitude += std::abs(w) * (std::abs(in[c].value) + in[c].error);
        error += std::abs(w) * in[c].error;
      }
      error += relative * magnitude + 0x1p-24 * std::abs(sum);
      if (bias != nullptr) {
        sum += static_cast<double>((*bias)[r]);
        error += 0x1p-24 * (std::abs(sum) + error);
      }
      out[r] = {sum, error};
    }
    return out;
  };
  std::vector<bounded> in;
  for (float const v : x) in.push_back({static_cast<double>(Precision::activation(v)), 0.0});
  auto const* const biases = e.biases ? &*e.biases : nullptr;
  bool const gated = e.gate.rows > 0;
  auto const up = rows(e.up.values(), biases ? &biases->up : nullptr, in, factor(x.size()));
  auto const gate = gated ? rows(e.gate.values(), biases ? &biases->gate : nullptr, in, factor(x.size())) : up;
  std::vector<bounded> inner;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    double const g = act.gate(gate[i].value), u = gated ? act.up(up[i].value) : 1.0;
    double const u_error = gated ? up[i].error + 0x1p-24 * std::abs(u) : 0.0;
    // An exponential takes the rounding of its argument to its value.
    double const g_error = 1.2 * gate[i].error + 0x1p-22 * std::abs(g) * (1.0 + std::abs(gate[i].value));
    double const value = g * u;
    double error = g_error * (std::abs(u) + u_error) + std::abs(g) * u_error + 0x1p-24 * std::abs(value);
    // Where rounding to bf16 may fall the other way it is half a step off.
    if (Precision::activation(1.001f) != 1.001f) error += 0x1p-8 * std::abs(value);
    inner.push_back({value, error});
  }
  return rows(e.down.values(), biases ? &biases->down : nullptr, inner, factor(inner.size()));
}

}  // namespace cuda_tests
