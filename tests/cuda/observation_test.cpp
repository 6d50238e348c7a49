// SPDX-License-Identifier: Apache-2.0
// Observations on a device: the bits of the CPU for the same tokens, however they were split, ordered and merged.
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/observation.hpp>
#include <cull/saliency.hpp>

#include "simt/on_simt.hpp"

using namespace simt_test;

namespace {

constexpr int experts = 7, k = 3, layer = 4;

struct batch {
  std::int64_t tokens;
  std::vector<std::int32_t> ids;
  std::vector<float> gates;
  std::vector<double> norms;
  std::vector<double> weights;
  std::vector<int> sequence, domain;

  batch(std::int64_t n, std::uint64_t seed) : tokens(n) {
    std::mt19937_64 random{seed};
    std::uniform_real_distribution<double> unit{0, 1};
    for (std::int64_t t = 0; t < n; ++t) {
      std::int32_t id = static_cast<std::int32_t>(random() % 3);
      for (int i = 0; i < k; ++i, id += 1 + static_cast<std::int32_t>(random() % 2)) {
        ids.push_back(id);
        gates.push_back(static_cast<float>(unit(random)));
        norms.push_back(std::exp(40 * (unit(random) - 0.5)));  // many limbs
      }
      weights.push_back(random() % 5 == 0 ? 0.0 : 1.0 + static_cast<double>(random() % 6));
      sequence.push_back(static_cast<int>(random() % 5));
      domain.push_back(static_cast<int>(random() % 2));
    }
  }
};

/// What is given beside ids, gates and norms.
enum class extras { none, weights, all };

template <class Space, class Pointers>
cull::routed_tokens<Space> tokens_of(batch const& b, Pointers const& p, extras which) {
  auto const n = b.tokens;
  cull::routed_tokens<Space> out{.norms = cull::matrix_view<double const, Space>{p.norms, n, k}};
  if (which != extras::none) out.weights = {p.weights, n};
  if (which == extras::all) {
    out.sequence = {p.sequence, n};
    out.domain = {p.domain, n};
  }
  return out;
}

struct on_device {
  device_array<std::int32_t> ids;
  device_array<float> gates;
  device_array<double> norms_, weights_;
  device_array<int> sequence_, domain_;
  struct pointers {
    double const* norms;
    double const* weights;
    int const* sequence;
    int const* domain;
  } p;

  explicit on_device(batch const& b)
      : ids(b.ids),
        gates(b.gates),
        norms_(b.norms),
        weights_(b.weights),
        sequence_(b.sequence),
        domain_(b.domain),
        p{norms_.data(), weights_.data(), sequence_.data(), domain_.data()} {}
  cull::routing<cull::device_memory> routing(batch const& b) const { return {ids.view(b.tokens, k), gates.view(b.tokens, k)}; }
};

cull::observation_layout layout(extras which) {
  return {.layers = {1, layer},
          .experts = std::vector<int>{5, experts},
          .domains = which == extras::all ? std::vector<std::string>{"code", "math"} : std::vector<std::string>{}};
}

cull::default_observation on_host(std::vector<batch> const& batches, extras which) {
  cull::default_observation seen{layout(which)};
  for (auto const& b : batches) {
    on_device::pointers const p{b.norms.data(), b.weights.data(), b.sequence.data(), b.domain.data()};
    cull::routing<> const chosen{cull::matrix_view<std::int32_t const>{b.ids.data(), b.tokens, k},
                                 cull::matrix_view<float const>{b.gates.data(), b.tokens, k}};
    cull::add(cull::on_cpu{}, seen.at(layer), chosen, tokens_of<cull::host_memory>(b, p, which));
  }
  seen.finish();
  return seen;
}

void add_there(on_simt const& exec, auto& seen, batch const& b, extras which) {
  on_device const there{b};
  cull::add(exec, seen.at(layer), there.routing(b), tokens_of<cull::device_memory>(b, there.p, which));
}

}  // namespace

TEST_CASE("observations on a device have the bits of the CPU's") {
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    for (auto const which : {extras::none, extras::weights, extras::all}) {
      race_detector races;
      on_simt const exec{{.seed = seed, .watch = {.races = &races}}};
      std::vector<batch> const batches{{37, seed}, {1, seed + 1}, {130, seed + 2}};
      auto seen = cull::observation_on(exec, layout(which), cull::open_sequences{5});
      for (auto const& b : batches) add_there(exec, seen, b, which);
      auto const got = cull::to_host(seen);
      CHECK(got == on_host(batches, which));
      CHECK(got.sums(layer, 2).count() > 0);
      CHECK(cull::to_host(seen) == got);  // nothing was lost by looking
    }
  }
}

TEST_CASE("device observations merge to the bits of one pass") {
  for (auto const which : {extras::none, extras::all}) {
    on_simt const exec{{.seed = 9}};
    std::vector<batch> const batches{{37, 5}, {64, 6}};
    auto a = cull::observation_on(exec, layout(which), cull::open_sequences{5});
    auto b = cull::observation_on(exec, layout(which), cull::open_sequences{5});
    a.provenance().sequences = {{1, 2}};
    b.provenance().sequences = {{3, 4}};
    add_there(exec, a, batches[0], which);
    add_there(exec, b, batches[1], which);
    auto const expected = cull::merge(on_host({batches[0]}, which), on_host({batches[1]}, which));
    a.merge(b);
    auto got = cull::to_host(a);
    CHECK(got.provenance().sequences.size() == 2);
    got.provenance() = expected.provenance();
    CHECK(got == expected);
    CHECK_THROWS_AS(a.merge(b), cull::error);  // its sequences would count twice
  }
}

TEST_CASE("what the CPU refuses is left out and reported; values that cannot be added are counted") {
  on_simt const exec{};
  batch b{4, 3};
  auto const refused = [&](batch const& bad, extras which) {
    auto seen = cull::observation_on(exec, layout(which), cull::open_sequences{5});
    add_there(exec, seen, bad, which);
    CHECK_THROWS_WITH_AS(cull::to_host(seen), doctest::Contains("out of range and were not added"), cull::error);
  };
  auto bad = b;
  bad.ids[5] = experts;
  refused(bad, extras::none);
  bad = b;
  bad.weights[2] = -1;
  refused(bad, extras::weights);
  bad = b;
  bad.weights[2] = NAN;
  refused(bad, extras::weights);
  bad = b;
  bad.sequence[1] = 5;
  refused(bad, extras::all);
  bad = b;
  bad.domain[1] = 2;
  refused(bad, extras::all);

  bad = b;
  bad.weights.assign(4, 1.0);
  bad.norms[4] = INFINITY;
  bad.norms[8] = 1e300;
  auto seen = cull::observation_on(exec, layout(extras::weights));
  add_there(exec, seen, bad, extras::weights);
  auto const got = cull::to_host(seen);
  CHECK(got.rejected() == 2);
  CHECK(got == on_host({bad}, extras::weights));
}

TEST_CASE("squares are taken up to 2^96, as on the CPU") {
  // Of a gate of 1, so that the norm of the one sequence is the greatest sum: its square is on either side of the edge.
  double const below = std::nextafter(0x1p48, 0.0);
  for (bool const by_sequence : {false, true}) {
    for (double const norm : {0x1p31, std::nextafter(0x1p32, 0.0), 0x1p32, 0x1.8p40, below, 0x1p48, 0x1.6p48}) {
      std::vector<double> const norms{norm};
      std::vector<int> const sequence{0};
      std::vector<std::int32_t> const ids{2};
      std::vector<float> const gates{1};
      on_simt const exec{{.seed = 5}};
      device_array<std::int32_t> const ids_there{ids};
      device_array<float> const gates_there{gates};
      device_array<double> const norms_there{norms};
      device_array<int> const sequence_there{sequence};
      cull::routed_tokens<cull::device_memory> there{
          .norms = cull::matrix_view<double const, cull::device_memory>{norms_there.data(), 1, 1}};
      cull::routed_tokens<> here{.norms = cull::matrix_view<double const>{norms.data(), 1, 1}};
      if (by_sequence) there.sequence = {sequence_there.data(), 1}, here.sequence = {sequence.data(), 1};
      cull::device_observation<on_simt, cull::measures::weight, cull::measures::norm> seen{
          exec, {.layers = {0}, .experts = 4}, cull::open_sequences{1}};
      cull::add(exec, seen.at(0), {ids_there.view(1, 1), gates_there.view(1, 1)}, there);
      auto const got = cull::to_host(seen);
      cull::observation expected{cull::on_cpu{}, {.layers = {0}, .experts = 4}, cull::weight, cull::norm};
      cull::add(cull::on_cpu{}, expected.at(0), cull::routing<>{{ids.data(), 1, 1}, {gates.data(), 1, 1}}, here);
      expected.finish();
      CAPTURE(norm);
      CHECK(got == expected);
      CHECK(got.rejected() == (norm < 0x1p48 ? 0 : 1));
      if (norm < 0x1p48) CHECK(got.sums(0, 2).clusters().squares(cull::norm).value() == norm * norm);
    }
  }
}

TEST_CASE("limbs are carried before they can overflow") {
  // 2^62 - 1 in every limb but the last: a state after 2^30 additions of the greatest addends.
  using cells = cull::simt::cell_layout<cull::measures::weight>;
  std::vector<std::int64_t> words(cells::words, 0);
  for (int i = 0; i < 5; ++i) words[static_cast<std::size_t>(i)] = i < 4 ? (std::int64_t{1} << 62) - 1 : std::int64_t{1} << 40;
  cull::exact_sum::limb_array limbs{};
  for (std::size_t i = 0; i < 5; ++i) limbs[i] = words[i];
  auto expected = cull::exact_sum::from_limbs(limbs);
  device_array<std::int64_t> const to{words}, from{words};
  on_simt{}.launch({1}, cull::simt::merge_cells<cull::measures::weight>{to.data(), from.data(), 1});
  expected.merge(expected);
  auto const got = to.host();
  auto const canonical = expected.limbs();
  for (std::size_t i = 0; i < 5; ++i) CHECK(got[i] == canonical[i]);
}

TEST_CASE("a batch is read by full sectors") {
  constexpr std::size_t tokens = 512;
  on_simt const plain;
  auto seen = cull::observation_on(plain, {.layers = {0}, .experts = 8});
  std::vector<std::int32_t> chosen(tokens * 2);
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = static_cast<std::int32_t>(i % 8);
  device_array<std::int32_t> const ids{chosen};
  device_array<float> const gates{std::vector<float>(tokens * 2, 0.5f)};
  device_array<double> const norms{std::vector<double>(tokens * 2, 3.25)};
  memory_trace trace;
  cull::add(on_simt{{.watch = {.trace = &trace}}}, seen.at(0), {ids.view(tokens, 2), gates.view(tokens, 2)},
            {.norms = cull::matrix_view<double const, cull::device_memory>{norms.data(), tokens, 2}});
  auto const read = trace.total(space::global, access_kind::read);
  CHECK(read.bytes_used == tokens * 2 * (sizeof(std::int32_t) + sizeof(float) + sizeof(double)));
  CHECK(read.used() == 1.0);
}

TEST_CASE("closing sequences and merging move four times the bytes that they use, as their kernels say") {
  constexpr std::size_t tokens = 128;
  memory_trace trace;
  on_simt const exec{{.watch = {.trace = &trace}}};
  auto seen = cull::observation_on(exec, {.layers = {0}, .experts = 32}, cull::open_sequences{4});
  auto other = cull::observation_on(exec, {.layers = {0}, .experts = 32}, cull::open_sequences{4});
  std::vector<std::int32_t> chosen(tokens);
  std::vector<int> sequences(tokens);
  for (std::size_t i = 0; i < tokens; ++i) chosen[i] = static_cast<std::int32_t>(i % 32), sequences[i] = static_cast<int>(i / 32);
  device_array<std::int32_t> const ids{chosen};
  device_array<float> const gates{std::vector<float>(tokens, 0.5f)};
  device_array<double> const norms{std::vector<double>(tokens, 3.25)};
  device_array<int> const sequence{sequences};
  for (auto* each : {&seen, &other}) {
    cull::add(on_simt{}, each->at(0), {ids.view(tokens, 1), gates.view(tokens, 1)},
              {.norms = cull::matrix_view<double const, cull::device_memory>{norms.data(), tokens, 1},
               .sequence = cull::array_view<int const, cull::device_memory>{sequence.view()}});
  }
  seen.merge(other);
  std::size_t lines = 0;
  for (auto const kind : {access_kind::read, access_kind::write, access_kind::atomic}) {
    for (auto const& each : trace.by_line(space::global, kind)) {
      std::string const line = each.first.text();
      CAPTURE(line);
      CHECK(each.second.bytes_used * 4 == each.second.sectors * 32);
      ++lines;
    }
  }
  CHECK(lines >= 12);
}
