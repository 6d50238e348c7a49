// SPDX-License-Identifier: Apache-2.0
// Contexts with a mistake each, and operations of the library to run on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <cull/cuda/dequantize.hpp>
#include <cull/cuda/observation.hpp>
#include <cull/cuda/quantize.hpp>
#include <cull/cuda/relayout.hpp>
#include <cull/cuda/route.hpp>
#include <cull/cuda/select.hpp>
#include <cull/tensor/fp8.hpp>

#include "simt/on_simt.hpp"

namespace mutants {

using namespace simt_test;

struct as_it_is : host_context {
  explicit as_it_is(host_context const& c) : host_context(c) {}
};
struct without_barriers : host_context {
  explicit without_barriers(host_context const& c) : host_context(c) {}
  void sync() const {}
};
struct without_warp_barriers : host_context {
  explicit without_warp_barriers(host_context const& c) : host_context(c) {}
  void sync_warp(std::uint32_t = cull::simt::all_lanes) const {}
};
struct with_plain_atomics : host_context {
  explicit with_plain_atomics(host_context const& c) : host_context(c) {}
  template <class T>
  T atomic_add(T* p, T value) const {
    auto const before = load(p);
    store(p, static_cast<T>(before + value));
    return before;
  }
  template <class T>
  T atomic_max(T* p, T value) const {
    auto const before = load(p);
    if (before < value) store(p, value);
    return before;
  }
};
struct one_element_off : host_context {
  explicit one_element_off(host_context const& c) : host_context(c) {}
  template <class T, class Hint = cull::simt::cached>
  std::remove_const_t<T> load(T* p, Hint = {}) const {
    return host_context::load(p + 1);
  }
};
struct one_lane_missing : host_context {
  explicit one_lane_missing(host_context const& c) : host_context(c) {}
  template <class T>
  T shuffle(T value, unsigned lane, std::uint32_t = cull::simt::all_lanes) const {
    return host_context::shuffle(value, lane, 0x7fffffffu);
  }
  template <class T>
  T shuffle_xor(T value, unsigned bits, std::uint32_t = cull::simt::all_lanes) const {
    return host_context::shuffle_xor(value, bits, 0x7fffffffu);
  }
};
/// Each half of a warp names itself only.
struct half_warps : host_context {
  explicit half_warps(host_context const& c) : host_context(c) {}
  std::uint32_t half() const { return lane() < 16 ? 0x0000ffffu : 0xffff0000u; }
  template <class T>
  T shuffle(T value, unsigned lane, std::uint32_t = cull::simt::all_lanes) const {
    return host_context::shuffle(value, lane, half());
  }
  template <class T>
  T shuffle_xor(T value, unsigned bits, std::uint32_t = cull::simt::all_lanes) const {
    return host_context::shuffle_xor(value, bits, half());
  }
};

template <class Body, class Context>
struct mutant {
  static constexpr unsigned threads = Body::threads;
  using Shared = typename Body::Shared;
  Body body;
  void operator()(host_context const& c, Shared& s) const { body(Context{c}, s); }
};

/// The executor whose launches run on `Context`.
template <class Context>
struct on_mutant : on_simt {
  template <class Body, class... Arguments>
  void launch(cull::simt::grid_size grid, Body const& body, Arguments...) const {
    on_simt::launch(grid, mutant<Body, Context>{body});
  }
};

// Operations, each on data with more than one warp and block.
struct dequantize {
  template <class Exec>
  void operator()(Exec const& exec) const {
    device_array<std::uint8_t> const codes{std::vector<std::uint8_t>(8 * 512, 0x21)},
        scales{std::vector<std::uint8_t>(8 * 64, 0x38)};
    device_array<cull::bf16> const out{8 * 1024};
    cull::dequantize(exec,
                     cull::matrix<cull::nvfp4_modelopt, cull::device_memory>{{codes.data(), scales.data(), 1.0f, 1024}, 8, 1024},
                     out.view(8, 1024));
  }
};
struct dequantize_groups {
  template <class Exec>
  void operator()(Exec const& exec) const {
    device_array<std::uint8_t> const codes{std::vector<std::uint8_t>(8 * 1024, 0x21)};
    device_array<cull::bf16> const out{8 * 1024};
    cull::dequantize(exec, cull::matrix<cull::fp8_tensor, cull::device_memory>{{codes.data(), 1024, 1.0f}, 8, 1024},
                     out.view(8, 1024));
  }
};
struct quantize {
  template <class Exec>
  void operator()(Exec const& exec) const {
    device_array<float> const source{std::vector<float>(20 * 512, 0.5f)}, scale{1};
    device_array<std::uint8_t> const codes{20 * 256}, scales{20 * 32};
    cull::quantize(exec, cull::modelopt{}, source.view(20, 512), {codes.data(), scales.data(), scale.data()});
  }
};
struct relayout {
  template <class Exec>
  void operator()(Exec const& exec) const {
    device_array<std::uint8_t> const rows{std::vector<std::uint8_t>(128 * 32, 1)}, tiles{128 * 32};
    cull::relayout<cull::linear, cull::tiled_128x4>(exec, rows.view(), tiles.view(), 128, 32);
  }
};
struct relayout_back {
  template <class Exec>
  void operator()(Exec const& exec) const {
    device_array<std::uint8_t> const tiles{std::vector<std::uint8_t>(128 * 32, 1)}, rows{128 * 32};
    cull::relayout<cull::tiled_128x4, cull::linear>(exec, tiles.view(), rows.view(), 128, 32);
  }
};
struct route {
  template <class Exec>
  void operator()(Exec const& exec) const {
    std::vector<float> values(9 * 64);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 64 == 5 ? INFINITY : static_cast<float>(i * 37 % 101);
    for (std::size_t i = 0; i < 64; ++i) values[i] = static_cast<float>(i);
    device_array<float> const logits{values};
    device_array<std::int32_t> const ids{9 * 4};
    device_array<float> const weights{9 * 4};
    device_array<cull::routing_failures> const failures{std::vector<cull::routing_failures>(1)};
    cull::route(exec, cull::score<cull::softmax>() | cull::within_groups(4, 2, cull::maximum{}) | cull::choose(4),
                logits.view(9, 64), cull::routing_target{ids.view(9, 4), weights.view(9, 4), failures.data()});
  }
};
struct add {
  template <class Exec>
  void operator()(Exec const& exec) const {
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
  }
};
struct select_kept {
  template <class Exec>
  void operator()(Exec const& exec) const {
    device_array<double> const scores{std::vector<double>(2 * 300, 1.5)};
    device_array<std::int32_t> const kept{2 * 100};
    device_array<std::uint32_t> const refused{std::vector<std::uint32_t>{0}};
    cull::select_layers(exec, scores.view(2, 300), {100}, kept.view(2, 100), refused.data());
  }
};

}  // namespace mutants
