// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tokens.hpp"

namespace {

using namespace saliency_test;

cull::default_observation filled(std::vector<std::string> domains) {
  cull::observation seen{cull::on_cpu{}, {.layers = {1, 4}, .experts = std::vector<int>{6, 8}, .domains = std::move(domains)}};
  add(seen, 1, make_tokens(60, 6, 2, 31));
  add(seen, 4, make_tokens(60, 8, 3, 32));
  seen.finish();
  return seen;
}

cull::state_tensor const* find(std::vector<cull::state_tensor> const& state, std::string const& name) {
  auto const found = std::find_if(state.begin(), state.end(), [&](auto const& t) { return t.name == name; });
  return found == state.end() ? nullptr : &*found;
}

auto finder(std::vector<cull::state_tensor> const& state) {
  return [&state](std::string const& name) { return find(state, name); };
}

}  // namespace

TEST_CASE("state: what is exported can be read by hand") {
  auto const seen = filled({"a", "b"});
  auto const state = cull::export_state(seen);
  auto const* const count = find(state, "count");
  auto const* const sum = find(state, "sum_gf");
  auto const* const max = find(state, "max_norm");
  REQUIRE((count != nullptr && sum != nullptr && max != nullptr));
  CHECK(count->shape == std::vector<std::int64_t>{2, 2, 8});
  CHECK(sum->shape == std::vector<std::int64_t>{2, 2, 8, 5});
  CHECK(max->shape == std::vector<std::int64_t>{2, 2, 8});
  for (int d = 0; d < 2; ++d) {
    for (int l = 0; l < 2; ++l) {
      for (int e = 0; e < (l == 0 ? 6 : 8); ++e) {
        auto const at = static_cast<std::size_t>((d * 2 + l) * 8 + e);
        auto const wanted = seen.sums(l == 0 ? 1 : 4, e, d);
        long double value = 0;
        for (std::size_t i = 0; i < 5; ++i)
          value += std::ldexp(static_cast<long double>(sum->i64[5 * at + i]), static_cast<int>(32 * i) - 80);
        CHECK(count->i64[at] == wanted.count());
        CHECK(static_cast<double>(value) == doctest::Approx(wanted.sum(cull::gate_norm)).epsilon(1e-15));
        CHECK(max->f64[at] == wanted.max_norm());
      }
    }
  }
  CHECK(find(cull::export_state(filled({})), "sum_w")->shape == std::vector<std::int64_t>{2, 8, 5});
}

TEST_CASE("state: export and import give the same state back; limbs of two machines may be added as integers") {
  for (auto const& domains : {std::vector<std::string>{}, std::vector<std::string>{"a", "b"}}) {
    auto const seen = filled(domains);
    auto state = cull::export_state(seen);
    cull::default_observation back{seen.layout()};
    cull::import_state(back, finder(state));
    CHECK(back == seen);

    for (auto& t : state) {
      for (auto& value : t.i64) value *= 2;
    }
    cull::default_observation twice{seen.layout()};
    cull::import_state(twice, finder(state));
    CHECK(twice == cull::merge(seen, seen));
  }
}

TEST_CASE("state: impossible arrays are refused by name") {
  auto const seen = filled({});
  auto const refused = [&](std::string const& name, auto change) {
    auto state = cull::export_state(seen);
    change(const_cast<cull::state_tensor&>(*find(state, name)));
    cull::default_observation back{seen.layout()};
    CHECK_THROWS_WITH_AS(cull::import_state(back, finder(state)), doctest::Contains(name.c_str()), cull::error);
  };
  refused("sum_gf", [](cull::state_tensor& t) { t.name = "other"; });
  refused("count", [](cull::state_tensor& t) { t.shape[0] = 1; });
  refused("count", [](cull::state_tensor& t) { t.i64.pop_back(); });
  refused("count", [](cull::state_tensor& t) { t.i64[0] = -1; });
  refused("sum_w", [](cull::state_tensor& t) { t.i64[4] = std::int64_t{1} << 62; });
  refused("max_norm", [](cull::state_tensor& t) { t.f64[0] = std::nan(""); });
  refused("max_norm", [](cull::state_tensor& t) { t.f64[0] = -1; });
}
