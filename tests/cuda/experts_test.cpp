// SPDX-License-Identifier: Apache-2.0
// Experts on the device's kernels, run on the host: against f64 within the bound of their docs, in every order, alone and in
// company.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include <doctest/doctest.h>
#include <cull/cpu/run_experts.hpp>
#include <cull/expert/token_groups.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>

#include "experts_support.hpp"

using namespace cuda_tests;
using simt_test::device_array;
using simt_test::on_simt;

namespace {

// Sanitizers run fibers at a tenth of the speed: small cases there, all of them elsewhere.
#if defined(CULL_SANITIZED)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

struct run_options {
  std::uint64_t seed = 0;
  simt_test::watchers watch = {};
  cull::expert_use use = {};
};

template <class Precision, class Activation = cull::silu, class Dialect>
std::vector<float> run(layer<Dialect> const& l, batch const& b, run_options const& o = {}, Activation activation = {}) {
  on_simt const exec{{.seed = o.seed, .watch = o.watch}};
  auto const experts = l.device();
  device_array<float> const x{b.x}, weights{b.weights}, outputs{static_cast<std::size_t>(b.tokens * b.k * b.hidden)};
  device_array<std::int32_t> const ids{b.ids};
  cull::run_experts<Precision>(exec, std::span<device_expert<Dialect> const>{experts}, x.view(b.tokens, b.hidden),
                               cull::routing<cull::device_memory>{ids.view(b.tokens, b.k), weights.view(b.tokens, b.k)},
                               outputs.view(b.tokens * b.k, b.hidden), activation, o.use);
  return outputs.host();
}

template <class Policy, class Dialect>
std::vector<double> norms_of(layer<Dialect> const& l, batch const& b, run_options const& o = {}) {
  auto const experts = l.device();
  device_array<float> const x{b.x}, weights{b.weights};
  device_array<std::int32_t> const ids{b.ids};
  device_array<double> const norms{static_cast<std::size_t>(b.tokens * b.k)};
  cull::expert_norms<Policy>(on_simt{{.seed = o.seed, .watch = o.watch}}, std::span{experts}, x.view(b.tokens, b.hidden),
                             cull::routing<cull::device_memory>{ids.view(b.tokens, b.k), weights.view(b.tokens, b.k)},
                             norms.view(b.tokens, b.k), cull::silu{}, o.use);
  return norms.host();
}

/// Host accumulation is one f32 rounding per product; the docs' bound, for any tensor core, is four times that.
double tile_bound(std::size_t parts, std::size_t k) { return static_cast<double>(parts * k) * 0x1p-24 * 1.01; }

template <class Precision, class Kernel, class Dialect, class Factor, class Activation = cull::silu>
void check_against_f64(layer<Dialect> const& l, batch const& b, Factor factor, Activation activation = {},
                       activation_f64 const& plain = {}) {
  auto const got = run<Kernel>(l, b, {}, activation);
  double worst = 0;
  for (std::int64_t pair = 0; pair < b.tokens * b.k; ++pair) {
    auto const token = b.x.begin() + pair / b.k * b.hidden;
    auto const id = static_cast<std::size_t>(b.ids[static_cast<std::size_t>(pair)]);
    auto const expect = reference<Precision, Dialect>(l.experts[id], {token, token + b.hidden}, factor, plain);
    for (std::int64_t h = 0; h < b.hidden; ++h) {
      auto const [value, error] = expect[static_cast<std::size_t>(h)];
      double const off = std::abs(static_cast<double>(got[static_cast<std::size_t>(pair * b.hidden + h)]) - value);
      worst = std::max(worst, off / error);
      if (!(off <= error)) FAIL("pair ", pair, " column ", h, ": off by ", off, " of ", error);
    }
  }
  CHECK(worst > 0);
}

}  // namespace

TEST_CASE("a block of codes is decoded exactly, for every scale and code") {
  for (unsigned scale = 0; scale < 256; ++scale) {
    auto const number = cull::e4m3{static_cast<std::uint8_t>(scale)}.decode();
    auto const by_product = cull::simt::decode_e4m3_by_product(static_cast<std::uint8_t>(scale));
    CHECK((std::isnan(number) ? std::isnan(by_product)
                              : std::bit_cast<std::uint32_t>(by_product) == std::bit_cast<std::uint32_t>(number)));
    constexpr std::uint8_t others[4] = {0x38, 0x01, 0x7e, 0xb8};
    auto const mine = static_cast<std::uint8_t>(scale), other = others[scale / 8 % 4];
    for (unsigned code = 0; code < 16; ++code) {
      for (unsigned place = 0; place < 8; ++place) {
        auto const codes = (code << (4 * place)) | (0xb3333333u & ~(15u << (4 * place)));
        auto const expect = cull::e2m1{static_cast<std::uint8_t>(code)}.decode() * number;
        auto const check = [&](std::array<float, 8> const& values) {
          auto const got = values[place] * 0x1p+14f;
          if (std::isnan(expect) ? !std::isnan(got) : got != expect) FAIL("scale ", scale, " code ", code, " place ", place);
        };
        using decoder = cull::simt::nvfp4_decoder;
        check(decoded_by_rows<decoder>(codes, mine, other, scale % 2 != 0));
        for (unsigned at = 0; at < 8; ++at) {
          check(decoded_in_turn<decoder>(codes, mine, other, static_cast<int>(scale % 4), at % 4, at / 4));
        }
      }
    }
  }
}

TEST_CASE("pairs are grouped by expert as on the host, ids that are none in no group") {
  for (std::uint64_t const seed : {0u, 1u, 2u}) {
    for (std::int64_t const tokens : {1, 37, 300}) {
      constexpr int experts = 9, k = 3;
      batch b{tokens, 4, k, experts};
      std::replace(b.ids.begin(), b.ids.end(), 4, 5);
      auto valid = b.ids;
      b.ids[0] = -3;
      b.ids[static_cast<std::size_t>(tokens)] = experts + 2;
      simt_test::race_detector races;
      on_simt const exec{{.seed = seed, .watch = {.races = &races}}};
      device_array<std::int32_t> const ids{b.ids};
      device_array<std::int32_t> const pairs{b.ids.size()};
      device_array<cull::simt::expert_tile> const tiles{
          static_cast<std::size_t>(cull::simt::tile_bound(tokens * k, experts, 64))};
      exec.fill_zero(tiles.data(), tiles.size() * sizeof(cull::simt::expert_tile));
      exec.launch({experts}, cull::simt::group_pairs<64>{ids.data(), k, static_cast<std::int32_t>(tokens), k, pairs.data(),
                                                         tiles.data(), 0});
      auto const order = pairs.host();
      std::vector<std::vector<std::int32_t>> got(experts);
      for (auto const& tile : tiles.host()) {
        for (int i = 0; i < tile.rows; ++i) {
          got[static_cast<std::size_t>(tile.expert)].push_back(order[static_cast<std::size_t>(tile.first + i)]);
        }
        CHECK(tile.rows <= 64);
      }
      for (int e = 0; e < experts; ++e) {
        std::vector<std::int32_t> expect;
        for (std::size_t p = 0; p < b.ids.size(); ++p) {
          if (b.ids[p] == e) expect.push_back(static_cast<std::int32_t>(p));
        }
        CHECK(got[static_cast<std::size_t>(e)] == expect);
      }
    }
  }
}

TEST_CASE("throughput: within the f32 bound of f64, for whole and partial tiles, widths and depths") {
  struct shape {
    int tokens, hidden, width;
  };
  for (auto const s : {shape{5, 64, 64}, shape{3, 320, 192}, shape{150, 192, 64}}) {
    if (sanitized && s.tokens > 3) continue;
    CAPTURE(s.tokens);
    CAPTURE(s.hidden);
    layer<> const l{3, s.hidden, s.width};
    batch const b{s.tokens, s.hidden, 2, 3};
    check_against_f64<cull::f32_precision, cull::f32_precision>(l, b, [](std::size_t k) { return tile_bound(3, k); });
    check_against_f64<cull::bf16_precision, cull::bf16_precision>(l, b, [](std::size_t k) { return tile_bound(1, k); });
  }
  if (sanitized) return;
  // 512 columns and more: block scales come 16 bytes at a time, in two rounds.
  layer<cull::compressed_tensors> const deep{2, 768, 64};
  check_against_f64<cull::f32_precision, cull::f32_precision>(deep, batch{2, 768, 1, 2},
                                                              [](std::size_t k) { return tile_bound(3, k); });
}

TEST_CASE_TEMPLATE("sizes that are no multiples of 64: within the bound of f64, with the bits of experts padded by zeros", Kernel,
                   cull::f32_precision, cull::bf16_precision, cull::latency<cull::f32_precision>,
                   cull::latency<cull::bf16_precision>) {
  using precision = typename cull::detail::policy_of<Kernel>::precision;
  constexpr std::size_t parts = cull::detail::bf16_parts<precision>;
  struct shape {
    int hidden, width;
  };
  for (auto const s : {shape{16, 16}, shape{144, 80}, shape{64, 176}, shape{208, 128}, shape{560, 32}}) {
    if (sanitized && s.hidden != 144) continue;
    CAPTURE(s.hidden);
    CAPTURE(s.width);
    for (bool const gated : {true, false}) {
      layer<> const l{2, s.hidden, s.width, gated}, whole = l.padded();
      batch const b{5, s.hidden, 1, 2};
      auto const got = run<Kernel>(l, b, {.seed = 4});
      auto const expect = run<Kernel>(whole, b.padded(whole.hidden));
      for (std::int64_t t = 0; t < b.tokens; ++t) {
        CHECK(std::memcmp(got.data() + t * s.hidden, expect.data() + t * whole.hidden,
                          static_cast<std::size_t>(s.hidden) * sizeof(float)) == 0);
      }
      if (gated) check_against_f64<precision, Kernel>(l, b, [](std::size_t k) { return tile_bound(parts, k); });
    }
  }
}

TEST_CASE("experts of any size: 70 tokens in every order without a race, norms, scales at any address") {
  layer<> l{1, 80, 48};
  l.add_biases();
  batch const b{sanitized ? 5 : 70, 80, 1, 1};
  simt_test::race_detector races;
  auto const got = run<cull::bf16_precision>(l, b, {.seed = 2, .watch = {.races = &races}});
  CHECK(got == run<cull::bf16_precision>(l, b));

  auto experts = l.device();
  auto bytes = l.experts[0].up.scales;
  bytes.insert(bytes.begin(), 0xff);
  device_array<std::uint8_t> const shifted{bytes};
  experts[0].up.parts.scales = shifted.data() + 1;
  on_simt const exec{};
  device_array<float> const x{b.x}, weights{b.weights}, outputs{static_cast<std::size_t>(b.tokens * b.hidden)};
  device_array<std::int32_t> const ids{b.ids};
  device_array<double> const norms{static_cast<std::size_t>(b.tokens)};
  cull::routing<cull::device_memory> const chosen{ids.view(b.tokens, 1), weights.view(b.tokens, 1)};
  std::span<device_expert<cull::modelopt> const> const there{experts};
  cull::run_experts<cull::bf16_precision>(exec, there, x.view(b.tokens, b.hidden), chosen, outputs.view(b.tokens, b.hidden));
  CHECK(outputs.host() == got);
  cull::expert_norms<cull::bf16_precision>(exec, there, x.view(b.tokens, b.hidden), chosen, norms.view(b.tokens, 1));
  for (std::size_t t = 0; t < static_cast<std::size_t>(b.tokens); ++t) {
    double squares = 0;
    for (std::size_t h = 0; h < 80; ++h) squares += std::pow(static_cast<double>(got[t * 80 + h]), 2);
    CHECK(norms.host()[t] == doctest::Approx(std::sqrt(squares)).epsilon(14 * 0x1p-24));
  }
}

TEST_CASE("latency: the bits of throughput") {
  for (int const hidden : {64, 320}) {
    if (sanitized && hidden > 64) continue;
    CAPTURE(hidden);
    layer<> const l{3, hidden, 64};
    batch const b{15, hidden, 2, 3};
    CHECK(run<cull::latency<cull::f32_precision>>(l, b) == run<cull::f32_precision>(l, b));
    CHECK(run<cull::latency<cull::bf16_precision>>(l, b) == run<cull::bf16_precision>(l, b));
  }
}

TEST_CASE_TEMPLATE("the same bits in every order of threads and blocks, and no race", Kernel, cull::f32_precision,
                   cull::bf16_precision, cull::latency<cull::f32_precision>, cull::latency<cull::bf16_precision>) {
  layer<> const l{3, 128, 64};
  batch const b{9, 128, 2, 3};
  auto const expect = run<Kernel>(l, b);
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    if (sanitized && seed > 1) continue;
    simt_test::race_detector races;
    auto const got = run<Kernel>(l, b, {.seed = seed, .watch = {.races = &races}});
    CHECK(std::memcmp(got.data(), expect.data(), got.size() * sizeof(float)) == 0);
  }
}

TEST_CASE_TEMPLATE("a token's result does not depend on its companions", Kernel, cull::f32_precision, cull::bf16_precision,
                   cull::latency<cull::f32_precision>) {
  layer<> const l{2, 64, 64};
  if (sanitized) return;
  batch const b{70, 64, 1, 2};
  auto const all = run<Kernel>(l, b);
  for (std::int64_t const t : {0, 33, 69}) {
    batch one{1, 64, 1, 2};
    std::copy_n(b.x.begin() + t * 64, 64, one.x.begin());
    one.ids[0] = b.ids[static_cast<std::size_t>(t)];
    auto const alone = run<Kernel>(l, one);
    CHECK(std::memcmp(alone.data(), all.data() + t * 64, 64 * sizeof(float)) == 0);
  }
}

TEST_CASE_TEMPLATE("zero-compute experts, weights on inputs, wrong ids", Kernel, cull::f32_precision,
                   cull::latency<cull::f32_precision>) {
  layer<> const l{2, 64, 64};
  batch b{3, 64, 2, 2};
  b.ids = {0, 2, 1, 3, 1, -1};  // 2 is a zero-compute expert, 3 and -1 are none
  auto const got = run<Kernel>(l, b, {.use = {.zero_experts = 1}});
  CHECK(std::equal(b.x.begin(), b.x.begin() + 64, got.begin() + 64));
  for (int h = 0; h < 64; ++h) {
    CHECK(std::isnan(got[static_cast<std::size_t>(3 * 64 + h)]));
    CHECK(std::isnan(got[static_cast<std::size_t>(5 * 64 + h)]));
  }
  // f_j(w x) is what the expert gives for an input that was multiplied before.
  auto const weighted = run<Kernel>(l, b, {.use = {.gate_on_input = true, .zero_experts = 1}});
  batch scaled{1, 64, 1, 2};
  for (std::size_t h = 0; h < 64; ++h) scaled.x[h] = b.weights[2] * b.x[64 + h];
  scaled.ids = {1};
  auto const expect = run<Kernel>(l, scaled);
  CHECK(std::equal(expect.begin(), expect.end(), weighted.begin() + 2 * 64));
  CHECK(weighted[64] == b.weights[1] * b.x[0]);
}

TEST_CASE_TEMPLATE("experts without a gate", Kernel, cull::f32_precision, cull::latency<cull::f32_precision>) {
  layer<> const l{1, 64, 192, false};
  batch const b{3, 64, 1, 1};
  auto const got = run<Kernel, cull::relu2>(l, b);
  auto const up = l.experts[0].up.values(), down = l.experts[0].down.values();
  for (std::size_t t = 0; t < 3; ++t) {
    std::vector<double> inner(192), magnitude(192);
    for (std::size_t w = 0; w < 192; ++w) {
      for (std::size_t h = 0; h < 64; ++h) inner[w] += up[w * 64 + h] * static_cast<double>(b.x[t * 64 + h]);
      for (std::size_t h = 0; h < 64; ++h) magnitude[w] += std::abs(up[w * 64 + h] * static_cast<double>(b.x[t * 64 + h]));
      magnitude[w] *= std::abs(inner[w]) + magnitude[w];
      inner[w] = inner[w] < 0 ? 0 : inner[w] * inner[w];
    }
    for (std::size_t h = 0; h < 64; ++h) {
      double sum = 0, scale = 0;
      for (std::size_t w = 0; w < 192; ++w) sum += down[h * 192 + w] * inner[w];
      for (std::size_t w = 0; w < 192; ++w) scale += std::abs(down[h * 192 + w]) * magnitude[w];
      CHECK(std::abs(static_cast<double>(got[t * 64 + h]) - sum) <= tile_bound(3, 64 * 3 + 192) * scale);
    }
  }
  CHECK_THROWS_WITH_AS((run<Kernel, cull::clamped_swiglu>(layer<>{1, 40, 64}, batch{1, 40, 1, 1})),
                       doctest::Contains("multiples of"), cull::error);
}

TEST_CASE("biases and every activation: within the bound of f64, by kind and by the model's settings") {
  using kind = cull::activation_settings::kind;
  auto const silu = [](double x) { return x / (1.0 + std::exp(-x)); };
  auto const within = [](double x, double limit) { return std::clamp(x, -limit, limit); };
  constexpr float alpha_f32 = 1.702f;
  double const alpha = static_cast<double>(alpha_f32);
  layer<> gated{2, 144, 80}, ungated{2, 64, 128, false};
  gated.add_biases();
  ungated.add_biases();
  auto const check = [&](auto activation, cull::activation_settings const& settings, activation_f64 const& plain) {
    for (auto const* l : {&gated, &ungated}) {
      batch const b{3, l->hidden, 1, 2};
      CAPTURE(l->hidden);
      CAPTURE(static_cast<int>(settings.what));
      check_against_f64<cull::f32_precision, cull::f32_precision>(
          *l, b, [](std::size_t k) { return tile_bound(3, k); }, activation, plain);
      check_against_f64<cull::bf16_precision, cull::latency<cull::bf16_precision>>(
          *l, b, [](std::size_t k) { return tile_bound(1, k); }, activation, plain);
      auto const one = run<cull::bf16_precision>(*l, b, {}, activation);
      CHECK(one == run<cull::bf16_precision>(*l, b, {}, cull::model_activation{settings}));
      CHECK(one == run<cull::latency<cull::bf16_precision>>(*l, b, {}, cull::model_activation{settings}));
    }
  };
  check(cull::silu{}, {kind::silu}, {});
  check(cull::clamped_swiglu{alpha_f32, 7.0f}, {kind::clamped_swiglu, alpha_f32, 7.0f},
        {[=](double g) { return std::min(g, 7.0) / (1.0 + std::exp(-alpha * std::min(g, 7.0))); },
         [=](double u) { return within(u, 7.0) + 1.0; }});
  if (sanitized) return;
  check(cull::gelu{}, {kind::gelu}, {[](double g) { return 0.5 * g * std::erfc(-g / std::sqrt(2.0)); }});
  check(cull::gelu_tanh{}, {kind::gelu_tanh},
        {[](double g) { return 0.5 * g * (1.0 + std::tanh(std::sqrt(2.0 / 3.141592653589793) * (g + 0.044715 * g * g * g))); }});
  check(cull::limited_silu{3.0f}, {kind::limited_silu, 0.0f, 3.0f},
        {[=](double g) { return std::min(silu(g), 3.0); }, [=](double u) { return within(u, 3.0); }});
}

TEST_CASE("where sums are exact outputs are the CPU's, bit for bit: activations and biases") {
  // One column of x and one of each row of down are not 0; the tensor scale is 1.
  layer<> l{1, 64, 64};
  auto const with = [](random_matrix<cull::modelopt> const& m, auto code) {
    std::vector<std::uint8_t> codes(m.codes.size());
    for (std::int64_t r = 0; r < m.rows; ++r) {
      for (std::int64_t c = 0; c < m.cols; ++c) {
        codes[static_cast<std::size_t>(r * m.cols + c) / 2] |= static_cast<std::uint8_t>(code(r, c) << (c % 2 * 4));
      }
    }
    return random_matrix<cull::modelopt>{m.rows, m.cols, codes, std::vector<std::uint8_t>(m.scales.size(), 0x38)};
  };
  auto const& e = l.experts[0];
  layer<>::expert exact{with(e.gate, [](auto r, auto) { return r % 16; }), with(e.up, [](auto r, auto) { return r / 4; }),
                        with(e.down, [](auto r, auto c) { return r == c ? 2 : 0; })};
  l.experts.clear();
  l.experts.push_back(std::move(exact));
  batch b{4, 64, 1, 1};
  for (std::size_t i = 0; i < b.x.size(); ++i) b.x[i] = i % 64 == 5 ? b.x[i] : 0.0f;
  auto const check = [&](auto activation) {
    std::vector<float> expect(b.x.size());
    auto const experts = l.host();
    cull::run_experts(cull::on_cpu{}, std::span{std::as_const(experts)}, cull::matrix_view<float const>{b.x.data(), 4, 64},
                      cull::routing<>{{b.ids.data(), 4, 1}, {b.weights.data(), 4, 1}},
                      cull::matrix_view<float>{expect.data(), 4, 64}, activation);
    auto const got = run<cull::f32_precision>(l, b, {}, activation);
    CHECK(std::memcmp(got.data(), expect.data(), got.size() * sizeof(float)) == 0);
  };
  l.add_biases(1);  // not at a multiple of 16 bytes
  check(cull::silu{});
  l.add_biases();
  check(cull::silu{});
  check(cull::gelu{});
  check(cull::gelu_tanh{});
  check(cull::relu2{});
  check(cull::clamped_swiglu{});
  check(cull::limited_silu{2.0f});
}

TEST_CASE("the table of experts is read and written within its memory, words side by side") {
  using namespace cull::simt;
  device_array<expert_weights> const table{2};
  device_array<expert_tile> const tiles{std::vector<expert_tile>{{2, 0, 1, 0}}};  // of an expert that is none
  device_array<std::int32_t> const pairs{std::vector<std::int32_t>{0}};
  device_array<std::uint16_t> const planes{std::vector<std::uint16_t>(64)}, inner{64};
  device_array<float> const outputs{64};
  expert_shape const shape{.hidden = 64, .width = 64, .experts = 2};
  simt_test::memory_trace trace;
  on_simt const exec{{.watch = {.trace = &trace}}};
  CHECK_THROWS_WITH_AS(
      exec.launch({1},
                  gate_up_tile<1, 8, cull::silu, true, nvfp4_whole>{
                      table.data(), tiles.data(), pairs.data(), planes.data(), 64, 1, inner.data(), 64, shape, {}}),
      doctest::Contains("out of range"), simt_test::fault);
  CHECK_THROWS_WITH_AS(exec.launch({1},
                                   down_tile<1, 8, store_outputs, nvfp4_whole>{
                                       table.data(), tiles.data(), pairs.data(), planes.data(), 64, shape, {outputs.data(), 64}}),
                       doctest::Contains("out of range"), simt_test::fault);
  CHECK_THROWS_WITH_AS(exec.launch({1}, write_experts{}, table.data(), expert_batch{}, 3), doctest::Contains("out of range"),
                       simt_test::fault);
  simt_test::memory_trace writing;
  on_simt{{.watch = {.trace = &writing}}}.launch({1}, write_experts{}, table.data(), expert_batch{}, 2);
  auto const written = writing.total(simt_test::space::global, simt_test::access_kind::write);
  CHECK(written.bytes_used == 2 * sizeof(expert_weights));
  CHECK(written.used() == 1.0);
}

TEST_CASE("a bias of another size is refused") {
  layer<> l{1, 64, 64};
  l.add_biases();
  auto experts = l.device();
  experts[0].down_bias = {experts[0].down_bias.data(), 63};
  device_array<float> const x{64}, weights{1}, outputs{64};
  device_array<std::int32_t> const ids{std::vector<std::int32_t>{0}};
  CHECK_THROWS_WITH_AS(
      cull::run_experts(on_simt{}, std::span{std::as_const(experts)}, x.view(1, 64),
                        cull::routing<cull::device_memory>{ids.view(1, 1), weights.view(1, 1)}, outputs.view(1, 64)),
      doctest::Contains("64, 64, 63 for gate, up and down"), cull::error);
}

TEST_CASE_TEMPLATE("norms without outputs: the outputs' within their bound, f64's within the product's, in every order", Kernel,
                   cull::f32_precision, cull::bf16_precision, cull::latency<cull::f32_precision>,
                   cull::latency<cull::bf16_precision>) {
  using precision = typename cull::detail::policy_of<Kernel>::precision;
  constexpr std::size_t parts = cull::detail::bf16_parts<precision>;
  for (int const hidden : {64, 320, 144}) {
    if (sanitized && hidden != 320) continue;
    CAPTURE(hidden);
    layer<> l{3, hidden, hidden == 144 ? 48 : 64};
    l.add_biases();
    batch const b{hidden == 64 && cull::detail::policy_of<Kernel>::tokens == 64 ? 70 : 5, hidden, 2, 3};
    auto const f = run<Kernel>(l, b);
    simt_test::race_detector races;
    auto const norms = norms_of<Kernel>(l, b, {.seed = 1, .watch = {.races = &races}});
    CHECK(norms == norms_of<Kernel>(l, b));
    CHECK(norms == norms_of<precision>(l, b, {.seed = 2}));
    for (std::size_t p = 0; p < norms.size(); ++p) {
      auto const x = b.x.begin() + static_cast<std::ptrdiff_t>(p) / b.k * b.hidden;
      auto const expect = reference<precision, cull::modelopt>(l.experts[static_cast<std::size_t>(b.ids[p])], {x, x + b.hidden},
                                                               [](std::size_t k) { return tile_bound(parts, k); });
      double squares = 0, squares_f64 = 0, off = 0;
      for (std::size_t h = 0; h < expect.size(); ++h) {
        squares += std::pow(static_cast<double>(f[p * expect.size() + h]), 2);
        squares_f64 += std::pow(expect[h].value, 2);
        off += std::pow(expect[h].error, 2);
      }
      double const rounding = (hidden / 128.0 + 12) * 0x1p-24;
      CHECK(std::abs(norms[p] - std::sqrt(squares)) <= rounding * std::sqrt(squares));
      CHECK(std::abs(norms[p] - std::sqrt(squares_f64)) <= std::sqrt(off) + rounding * norms[p]);
    }
  }
}

TEST_CASE("outputs are combined as on the host: y in the same bits, norms in f64") {
  constexpr std::int64_t tokens = 5, k = 3, hidden = 300;
  batch const b{tokens * k, hidden, 1, 1};
  batch const route{tokens, 4, k, 7};
  on_simt const exec{{.seed = 5}};
  device_array<float> const f{b.x}, weights{route.weights}, y{tokens * hidden};
  device_array<std::int32_t> const ids{route.ids};
  device_array<double> const norms{tokens * k};
  cull::combine(exec, cull::routing<cull::device_memory>{ids.view(tokens, k), weights.view(tokens, k)},
                cull::matrix_view<float const, cull::device_memory>{f.view(tokens * k, hidden)}, y.view(tokens, hidden),
                norms.view(tokens, k));
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t h = 0; h < hidden; ++h) {
      double sum = 0;
      for (std::size_t i = 0; i < k; ++i) {
        sum += static_cast<double>(route.weights[t * k + i]) * static_cast<double>(b.x[(t * k + i) * hidden + h]);
      }
      CHECK(y.host()[t * hidden + h] == static_cast<float>(sum));
    }
  }
  for (std::size_t p = 0; p < tokens * k; ++p) {
    double squares = 0;
    for (std::size_t h = 0; h < hidden; ++h) squares += std::pow(static_cast<double>(b.x[p * hidden + h]), 2);
    CHECK(norms.host()[p] == doctest::Approx(std::sqrt(squares)).epsilon(1e-14));
  }
}
