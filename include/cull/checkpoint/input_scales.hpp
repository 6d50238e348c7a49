// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// The widest scale of activations of one projection in a layer, before and
/// after pruning. Serving engines quantise the activations of all experts of a
/// layer by it, so losing it changes what survivors compute although their
/// bytes are the same.
struct input_scale_change {
  int layer = 0;
  std::string tensor;  ///< behind the expert's prefix: "down_proj.input_scale"
  float before = 0, after = 0;
};

namespace detail {

/// A scale of activations: modelopt's multiplies (the largest is widest),
/// compressed-tensors' divides (the smallest is).
inline bool is_input_scale(std::string_view rest) {
  return rest.ends_with(".input_scale") || rest.ends_with(".input_global_scale");
}
inline float wider(std::string_view rest, float a, float b) {
  bool const divides = rest.ends_with("_global_scale");
  return (divides ? b < a : b > a) ? b : a;
}

using scale_key = std::pair<int, std::string>;

/// The widest of each layer and projection, over the experts that `counts`
/// accepts by layer and number.
template <class Counts>
std::map<scale_key, float> widest_input_scales(checkpoint const& model, Counts&& counts) {
  std::map<scale_key, float> out;
  for (auto const& t : model.tensors()) {
    if (!is_input_scale(t.name) || t.type != dtype::f32 || t.elements() != 1) continue;
    auto const place = model.place_of(t.name);
    if (place.expert < 0 || !counts(place.layer, place.expert)) continue;
    float value = 0;
    std::memcpy(&value, model.bytes(t).data(), sizeof value);
    auto const [at, is_new] = out.emplace(scale_key{place.layer, place.rest}, value);
    if (!is_new) at->second = wider(place.rest, at->second, value);
  }
  return out;
}

}  // namespace detail

/// Where pruning to these keep-sets loses the widest scale of activations.
/// Reads scalars.
inline std::vector<input_scale_change> lost_input_scales(checkpoint const& model, std::map<int, std::vector<int>> const& kept) {
  auto const before = detail::widest_input_scales(model, [&](int layer, int) { return kept.contains(layer); });
  auto const after = detail::widest_input_scales(model, [&](int layer, int expert) {
    auto const found = kept.find(layer);
    return found != kept.end() && std::binary_search(found->second.begin(), found->second.end(), expert);
  });
  std::vector<input_scale_change> out;
  for (auto const& [key, value] : before) {
    auto const found = after.find(key);
    if (found != after.end() && found->second != value) out.push_back({key.first, key.second, value, found->second});
  }
  return out;
}

CULL_NAMESPACE_END
