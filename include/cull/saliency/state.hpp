// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>

CULL_NAMESPACE_BEGIN

/// One array of an observation's state, for files and reductions: integers (counts, limbs) or f64 (maxima).
/// Shape: [domains if told apart, layers, most experts of a layer, limbs of an exact sum]. Limbs are canonical; integer arrays of
/// several machines may simply be added, f64 ones take the maximum.
struct state_tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> i64;
  std::vector<double> f64;
};

namespace detail {

template <class M>
struct state_of {
  template <class Cell>
  auto& operator()(Cell& cell) const {
    return cell.sums.state(M{});
  }
};

struct product_at {
  std::size_t place;
  template <class Cell>
  auto& operator()(Cell& cell) const {
    return cell.sums.clusters().products[place];
  }
};

/// Visits every array of the state: `visit(name, accessor)`, accessor(cell) giving the `exact_sum`, `tally`, `peak` or integer.
template <measure... Measures, class Visit>
void for_each_state(observation<Measures...> const&, Visit&& visit) {
  (visit(std::string{Measures::name}, state_of<Measures>{}), ...);
  visit(
      "sequences", [](auto& cell) -> auto& { return cell.sums.clusters().sequences; });
  using layout = sequence_layout<Measures...>;
  auto const visit_product = [&](std::string name, int place) {
    visit(std::move(name), product_at{static_cast<std::size_t>(place)});
  };
  visit_product(std::string{measures::weight::name} + ".squares", 0);
  auto const visit_products = [&]<class M>(M) {
    if constexpr (!layout::template counts<M>) return;
    visit_product(std::string{M::name} + ".times_w", layout::template cross_of<M>);
    visit_product(std::string{M::name} + ".squares", layout::template square_of<M>);
  };
  (visit_products(Measures{}), ...);
}

/// Copies one state to or from its place in an array.
struct write_state {
  state_tensor& to;
  void operator()(exact_sum const& s, std::size_t at) const {
    std::ranges::copy(s.limbs(), to.i64.begin() + static_cast<std::ptrdiff_t>(5 * at));
  }
  void operator()(tally const& s, std::size_t at) const { to.i64[at] = s.number; }
  void operator()(std::int64_t s, std::size_t at) const { to.i64[at] = s; }
  void operator()(peak const& s, std::size_t at) const { to.f64[at] = s.greatest; }
};
struct read_state {
  state_tensor const& from;
  void operator()(exact_sum& s, std::size_t at) const {
    exact_sum::limb_array limbs{};
    std::copy_n(from.i64.begin() + static_cast<std::ptrdiff_t>(5 * at), 5, limbs.begin());
    for (auto const limb : limbs) {
      if (limb >= (std::int64_t{1} << 62) || limb <= -(std::int64_t{1} << 62)) refuse(": a limb is out of range");
    }
    s = exact_sum::from_limbs(limbs);
    // Room for thousands of merges before anything could overflow.
    auto const top = s.limbs().back();
    if (top >= (std::int64_t{1} << 52) || top < -(std::int64_t{1} << 52)) refuse(": a sum is out of range");
  }
  void operator()(tally& s, std::size_t at) const { (*this)(s.number, at); }
  void operator()(std::int64_t& s, std::size_t at) const {
    s = from.i64[at];
    if (s < 0 || s >= (std::int64_t{1} << 53)) refuse(": a count is out of range");
  }
  void operator()(peak& s, std::size_t at) const {
    s.greatest = from.f64[at];
    if (!(s.greatest >= 0) || !std::isfinite(s.greatest)) refuse(": a maximum is not a finite number");
  }
  [[noreturn]] void refuse(char const* why) const {
    throw error{errc::bad_observation, std::string{"the state does not make sense"} + why, {.tensor = from.name}};
  }
};

template <class State>
constexpr std::int64_t limbs_of = std::is_same_v<State, exact_sum> ? exact_sum::limb_count : 1;

/// `visit(cell, place in the array)` for every expert that exists.
template <class Observation, class Visit>
void for_each_cell(Observation& seen, Visit&& visit) {
  int most = 0;
  for (int const layer : seen.layers()) most = std::max(most, seen.experts(layer));
  for (int d = 0; d < seen.domain_count(); ++d) {
    for (std::size_t l = 0; l < seen.layers().size(); ++l) {
      auto const row = static_cast<std::size_t>(d) * seen.layers().size() + l;
      for (int e = 0; e < seen.experts(seen.layers()[l]); ++e) {
        visit(seen.cell(d, l, e), row * static_cast<std::size_t>(most) + static_cast<std::size_t>(e));
      }
    }
  }
}

template <class State, class Observation>
std::vector<std::int64_t> state_shape(Observation const& seen) {
  std::vector<std::int64_t> shape;
  if (!seen.domains().empty()) shape.push_back(static_cast<std::int64_t>(seen.domains().size()));
  shape.push_back(static_cast<std::int64_t>(seen.layers().size()));
  int most = 0;
  for (int const layer : seen.layers()) most = std::max(most, seen.experts(layer));
  shape.push_back(most);
  if (limbs_of < State >> 1) shape.push_back(limbs_of<State>);
  return shape;
}

inline std::size_t elements(std::vector<std::int64_t> const& shape) {
  std::size_t product = 1;
  for (auto const n : shape) product *= static_cast<std::size_t>(n);
  return product;
}

}  // namespace detail

/// The whole state of an observation as named arrays; the same bits for the same data. Throws `errc::rejected_values`.
template <measure... Measures>
std::vector<state_tensor> export_state(observation<Measures...> const& seen) {
  if (seen.has_open_sequences()) return export_state(finished(seen));
  seen.require_sound();
  std::vector<state_tensor> out;
  detail::for_each_state(seen, [&](std::string name, auto access) {
    using state = std::remove_cvref_t<decltype(access(seen.cell(0, 0, 0)))>;
    state_tensor tensor{std::move(name), detail::state_shape<state>(seen), {}, {}};
    if constexpr (std::is_same_v<state, peak>) {
      tensor.f64.resize(detail::elements(tensor.shape));
    } else {
      tensor.i64.resize(detail::elements(tensor.shape));
    }
    detail::for_each_cell(seen, [&](auto const& cell, std::size_t at) { detail::write_state{tensor}(access(cell), at); });
    out.push_back(std::move(tensor));
  });
  return out;
}

/// Fills `seen` (fresh, of the right layout) from arrays by name; `find(name)` returns a `state_tensor const*` or null.
/// Throws `errc::bad_observation` for arrays that are missing, of another shape, or hold impossible states.
template <measure... Measures, class Find>
void import_state(observation<Measures...>& seen, Find&& find) {
  detail::for_each_state(seen, [&](std::string const& name, auto access) {
    using state = std::remove_cvref_t<decltype(access(seen.cell(0, 0, 0)))>;
    state_tensor const* const from = find(name);
    if (from == nullptr) throw error{errc::bad_observation, "is missing", {.tensor = name}};
    auto const size = std::is_same_v<state, peak> ? from->f64.size() : from->i64.size();
    if (from->shape != detail::state_shape<state>(seen) || size != detail::elements(from->shape)) {
      throw error{errc::bad_observation,
                  "has another shape or type than the observation's layers, experts and domains ask for",
                  {.tensor = name}};
    }
    detail::for_each_cell(seen, [&](auto& cell, std::size_t at) { detail::read_state{*from}(access(cell), at); });
  });
}

CULL_NAMESPACE_END
