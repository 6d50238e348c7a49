// SPDX-License-Identifier: Apache-2.0
// A context with a mistake of one's choice, and operations of the library to run on it.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include <cull/cuda/combine.hpp>
#include <cull/cuda/dequantize.hpp>
#include <cull/cuda/down_tile.hpp>
#include <cull/cuda/gate_up_tile.hpp>
#include <cull/cuda/matmul_tile.hpp>
#include <cull/cuda/observation.hpp>
#include <cull/cuda/quantize.hpp>
#include <cull/cuda/relayout.hpp>
#include <cull/cuda/route.hpp>
#include <cull/cuda/select.hpp>
#include <cull/tensor/fp8.hpp>

#include "experts_support.hpp"
#include "simt/on_simt.hpp"

namespace mutants {

using namespace simt_test;

enum class mistake {
  none,
  no_barrier,
  no_second_barrier,  ///< nor any after it: the first is there
  no_warp_barrier,
  plain_atomics,
  load_off_by_one,
  store_off_by_one,
  shared_off_by_one,
  lane_missing,
  half_warps,      ///< each half of a warp names itself only
  no_wait,         ///< for asynchronous copies
  waits_for_less,  ///< one group of copies may still be under way
  no_commit,
};

/// The context of the host, with a mistake.
struct mutant_context : host_context {
  using mask = std::uint32_t;
  static constexpr mask all = cull::simt::all_lanes;
  mistake what;
  mutable unsigned barriers = 0;

  mutant_context(host_context const& c, mistake m) : host_context(c), what(m) {}

  void sync(line at = {__builtin_FILE(), __builtin_LINE()}) const {
    bool const missing = what == mistake::no_barrier || (what == mistake::no_second_barrier && barriers > 0);
    ++barriers;
    if (!missing) host_context::sync(at);
  }
  void sync_warp(mask lanes = all) const {
    if (what != mistake::no_warp_barrier) host_context::sync_warp(lanes);
  }
  template <class T>
  T atomic_add(T* p, T value) const {
    if (what != mistake::plain_atomics) return host_context::atomic_add(p, value);
    auto const before = host_context::load(p);
    host_context::store(p, static_cast<T>(before + value));
    return before;
  }
  template <class T>
  T atomic_max(T* p, T value) const {
    if (what != mistake::plain_atomics) return host_context::atomic_max(p, value);
    auto const before = host_context::load(p);
    if (before < value) host_context::store(p, value);
    return before;
  }
  template <class T, class Hint = cull::simt::cached>
  std::remove_const_t<T> load(T* p, Hint = {}) const {
    return host_context::load(p + (what == mistake::load_off_by_one ? 1 : 0));
  }
  template <class T, class Hint = cull::simt::cached>
  void store(T* p, std::type_identity_t<T> value, Hint = {}) const {
    host_context::store(p + (what == mistake::store_off_by_one ? 1 : 0), value);
  }
  template <class T>
  std::remove_const_t<T> load_shared(T* p) const {
    return host_context::load_shared(p + (what == mistake::shared_off_by_one ? 1 : 0));
  }
  template <class T>
  T shuffle(T value, unsigned lane, mask lanes = all) const {
    return host_context::shuffle(value, lane, wrong(lanes));
  }
  template <class T>
  T shuffle_xor(T value, unsigned bits, mask lanes = all) const {
    return host_context::shuffle_xor(value, bits, wrong(lanes));
  }
  void commit_async() const {
    if (what != mistake::no_commit) host_context::commit_async();
  }
  template <int Pending>
  void wait_async() const {
    if (what == mistake::waits_for_less) return host_context::wait_async<Pending + 1>();
    if (what != mistake::no_wait) host_context::wait_async<Pending>();
  }

 private:
  mask wrong(mask lanes) const {
    if (what == mistake::lane_missing) return 0x7fffffffu;
    if (what == mistake::half_warps) return lane() < 16 ? 0x0000ffffu : 0xffff0000u;
    return lanes;
  }
};

template <class Body>
struct mutant {
  static constexpr unsigned threads = Body::threads;
  using Shared = typename Body::Shared;
  Body body;
  mistake what;
  template <class... Arguments>
  void operator()(host_context const& c, Shared& s, Arguments... arguments) const {
    body(mutant_context{c, what}, s, arguments...);
  }
};

/// The executor whose launches make that mistake.
struct on_mutant : on_simt {
  mistake what = mistake::none;

  template <class Body, class... Arguments>
  void launch(cull::simt::grid_size grid, Body const& body, Arguments... arguments) const {
    on_simt::launch(grid, mutant<Body>{body, what}, arguments...);
  }
};

/// The bytes that an operation leaves.
template <class T>
std::string bytes_of(device_array<T> const& values) {
  return {reinterpret_cast<char const*>(values.data()), values.size() * sizeof(T)};
}

// Operations, each on data with more than one warp and block.
struct dequantize {
  std::string operator()(on_mutant const& exec) const {
    device_array<std::uint8_t> const codes{std::vector<std::uint8_t>(8 * 512, 0x21)},
        scales{std::vector<std::uint8_t>(8 * 64, 0x38)};
    device_array<cull::bf16> const out{8 * 1024};
    cull::dequantize(exec,
                     cull::matrix<cull::nvfp4_modelopt, cull::device_memory>{{codes.data(), scales.data(), 1.0f, 1024}, 8, 1024},
                     out.view(8, 1024));
    return bytes_of(out);
  }
};
struct dequantize_groups {
  std::string operator()(on_mutant const& exec) const {
    device_array<std::uint8_t> const codes{std::vector<std::uint8_t>(8 * 1024, 0x21)};
    device_array<cull::bf16> const out{8 * 1024};
    cull::dequantize(exec, cull::matrix<cull::fp8_tensor, cull::device_memory>{{codes.data(), 1024, 1.0f}, 8, 1024},
                     out.view(8, 1024));
    return bytes_of(out);
  }
};
struct quantize {
  std::string operator()(on_mutant const& exec) const {
    device_array<float> const source{std::vector<float>(20 * 512, 0.5f)}, scale{1};
    device_array<std::uint8_t> const codes{20 * 256}, scales{20 * 32};
    cull::quantize(exec, cull::modelopt{}, source.view(20, 512), {codes.data(), scales.data(), scale.data()});
    return bytes_of(codes) + bytes_of(scales) + bytes_of(scale);
  }
};
struct relayout {
  std::string operator()(on_mutant const& exec) const {
    device_array<std::uint8_t> const rows{std::vector<std::uint8_t>(128 * 32, 1)}, tiles{128 * 32};
    cull::relayout<cull::linear, cull::tiled_128x4>(exec, rows.view(), tiles.view(), 128, 32);
    return bytes_of(tiles);
  }
};
struct relayout_back {
  std::string operator()(on_mutant const& exec) const {
    device_array<std::uint8_t> const tiles{std::vector<std::uint8_t>(128 * 32, 1)}, rows{128 * 32};
    cull::relayout<cull::tiled_128x4, cull::linear>(exec, tiles.view(), rows.view(), 128, 32);
    return bytes_of(rows);
  }
};
struct route {
  std::string operator()(on_mutant const& exec) const {
    std::vector<float> values(9 * 64);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 64 == 5 ? INFINITY : static_cast<float>(i * 37 % 101);
    for (std::size_t i = 0; i < 64; ++i) values[i] = static_cast<float>(i);
    device_array<float> const logits{values};
    device_array<std::int32_t> const ids{9 * 4};
    device_array<float> const weights{9 * 4};
    device_array<cull::routing_failures> const failures{std::vector<cull::routing_failures>(1)};
    cull::route(exec, cull::score<cull::softmax>() | cull::within_groups(4, 2, cull::maximum{}) | cull::choose(4),
                logits.view(9, 64), cull::routing_target{ids.view(9, 4), weights.view(9, 4), failures.data()});
    return bytes_of(ids) + bytes_of(weights) + bytes_of(failures);
  }
};
struct add {
  std::string operator()(on_mutant const& exec) const {
    auto seen = cull::observation_on(exec, {.layers = {0}, .experts = 3}, cull::open_sequences{2});
    std::vector<std::int32_t> chosen(300);
    for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = static_cast<std::int32_t>(i % 3);
    device_array<std::int32_t> const ids{chosen};
    device_array<float> const gates{std::vector<float>(300, 0.5f)};
    device_array<double> const norms{std::vector<double>(300, 3.25)};
    device_array<int> const sequence{std::vector<int>(300, 1)};
    cull::add(exec, seen.at(0), {ids.view(300, 1), gates.view(300, 1)},
              {.norms = cull::matrix_view<double const, cull::device_memory>{norms.data(), 300, 1}, .sequence = sequence.view()});
    seen.finish();
    return {};
  }
};
struct select_kept {
  std::string operator()(on_mutant const& exec) const {
    device_array<double> const scores{std::vector<double>(2 * 300, 1.5)};
    device_array<std::int32_t> const kept{2 * 100};
    device_array<std::uint32_t> const refused{std::vector<std::uint32_t>{0}};
    cull::select_layers(exec, scores.view(2, 300), {100}, kept.view(2, 100), refused.data());
    return bytes_of(kept);
  }
};

/// A tile of 3 tokens of one expert, whose numbers are as good as any; a kernel of each main loop is launched by itself.
template <class Dialect>
struct one_tile {
  static constexpr int tokens = 3;
  std::mt19937 random{5};
  cuda_tests::random_matrix<Dialect> first, second;
  std::vector<std::uint16_t> activations;
  device_array<cull::simt::expert_weights> table;
  device_array<std::uint16_t> planes;
  device_array<cull::simt::expert_tile> tiles{std::vector<cull::simt::expert_tile>{{0, 0, tokens, 0}}};
  device_array<std::int32_t> pairs{std::vector<std::int32_t>{0, 1, 2}};

  /// Two matrices [rows, columns].
  one_tile(std::int64_t rows, std::int64_t columns)
      : first(rows, columns, random),
        second(rows, columns, random),
        table(std::vector<cull::simt::expert_weights>{{of(first), of(second), of(first), nullptr, nullptr, nullptr}}),
        planes(values(columns, random)) {}

  static cull::simt::weight_rows of(cuda_tests::random_matrix<Dialect> const& m) {
    return cull::detail::rows_on_device<cuda_tests::format_of<Dialect>>(m.device());
  }

 private:
  static std::vector<std::uint16_t> values(std::int64_t columns, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<std::uint16_t> out(
        static_cast<std::size_t>(tokens * cull::simt::plane_width(static_cast<std::int32_t>(columns))));
    for (auto& v : out) v = cull::bf16::encode(normal(random)).bits;
    return out;
  }
};
struct group_pairs {
  std::string operator()(on_mutant const& exec) const {
    std::vector<std::int32_t> chosen(300);
    for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = static_cast<std::int32_t>(i * 7 % 3 % 2);
    device_array<std::int32_t> const ids{chosen}, pairs{300};
    device_array<cull::simt::expert_tile> const tiles{std::vector<cull::simt::expert_tile>(300 / 64 + 2)};
    exec.launch({2}, cull::simt::group_pairs<64>{ids.data(), 2, 150, 2, pairs.data(), tiles.data(), 0});
    return bytes_of(pairs) + bytes_of(tiles);
  }
};
struct gate_up {
  std::string operator()(on_mutant const& exec) const {
    one_tile<cull::modelopt> const t{64, 320};
    device_array<std::uint16_t> const inner{3 * 64};
    exec.launch(
        {1}, cull::simt::gate_up_tile<1, 8, cull::silu, true, cull::simt::nvfp4_whole>{t.table.data(),
                                                                                       t.tiles.data(),
                                                                                       t.pairs.data(),
                                                                                       t.planes.data(),
                                                                                       3 * 320,
                                                                                       1,
                                                                                       inner.data(),
                                                                                       3 * 64,
                                                                                       {.hidden = 320, .width = 64, .experts = 1},
                                                                                       {}});
    return bytes_of(inner);
  }
};
struct down {
  std::string operator()(on_mutant const& exec) const {
    one_tile<cull::modelopt> const t{48, 208};
    device_array<float> const outputs{3 * 48};
    exec.launch({1}, cull::simt::down_tile<1, 64, cull::simt::store_outputs, cull::simt::nvfp4_ragged>{
                         t.table.data(),
                         t.tiles.data(),
                         t.pairs.data(),
                         t.planes.data(),
                         3 * 256,
                         {.hidden = 48, .width = 208, .experts = 1},
                         {outputs.data(), 48}});
    return bytes_of(outputs);
  }
};
struct norms {
  std::string operator()(on_mutant const& exec) const {
    one_tile<cull::modelopt> const t{64, 320};
    device_array<float> const squares{8};
    exec.launch({1}, cull::simt::down_tile<1, 8, cull::simt::sum_squares, cull::simt::nvfp4_whole>{
                         t.table.data(),
                         t.tiles.data(),
                         t.pairs.data(),
                         t.planes.data(),
                         3 * 320,
                         {.hidden = 64, .width = 320, .experts = 1},
                         {squares.data()}});
    return bytes_of(squares);
  }
};
struct matmul {
  std::string operator()(on_mutant const& exec) const {
    one_tile<cull::mxfp4> const t{32, 288};
    device_array<float> const y{3 * 32};
    exec.launch({1}, cull::simt::matmul_tile<1, 64, cull::simt::mxfp4_rows>{t.of(t.first), t.planes.data(), 3 * 320, 3, 288, 32,
                                                                            false, y.data(), 32});
    return bytes_of(y);
  }
};
struct combine {
  std::string operator()(on_mutant const& exec) const {
    std::vector<float> values(4 * 300);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 17);
    device_array<float> const outputs{values}, weights{std::vector<float>{0.5f, 0.25f, 0.75f, 1.0f}}, y{2 * 300};
    device_array<std::int32_t> const ids{std::vector<std::int32_t>{0, 1, 0, 1}};
    device_array<double> const norms{4};
    cull::combine(exec, cull::routing<cull::device_memory>{ids.view(2, 2), weights.view(2, 2)}, outputs.view(4, 300),
                  y.view(2, 300), norms.view(2, 2));
    return bytes_of(y) + bytes_of(norms);
  }
};
struct merge {
  std::string operator()(on_mutant const& exec) const {
    using cells = cull::simt::cell_layout<cull::measures::weight>;
    std::vector<std::int64_t> words(40 * cells::words);
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::int64_t>(i) << (i % 40);
    device_array<std::int64_t> const to{words}, from{words};
    exec.launch({1}, cull::simt::merge_cells<cull::measures::weight>{to.data(), from.data(), 40});
    return bytes_of(to);
  }
};

}  // namespace mutants
