// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
#include <cull/checkpoint/source_file.hpp>
#include <cull/checkpoint/tensor_info.hpp>
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

/// Reads F32 scalars; those that lie near each other, as they do, in one go.
class scalar_reader {
 public:
  explicit scalar_reader(checkpoint const& model) : model_(model) {}

  float read(tensor_info const& t) {
    if (t.shard != shard_) {
      file_.emplace(model_.shards()[static_cast<std::size_t>(t.shard)].reopen());
      shard_ = t.shard;
      bytes_.clear();
    }
    if (t.begin < begin_ || t.end > begin_ + bytes_.size()) fill(t.begin);
    float value = 0;
    std::memcpy(&value, bytes_.data() + (t.begin - begin_), sizeof value);
    return value;
  }

 private:
  void fill(std::uint64_t from) {
    begin_ = from;
    bytes_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(window, file_->size() - from)));
    file_->read(from, bytes_);
  }

  static constexpr std::uint64_t window = std::uint64_t{16} << 10;
  checkpoint const& model_;
  std::optional<source_file> file_;
  int shard_ = -1;
  std::uint64_t begin_ = 0;
  std::vector<std::byte> bytes_;
};

/// `use(key, expert, value)` for every scale of an expert's activations.
template <class Use>
void each_input_scale(checkpoint const& model, Use&& use) {
  scalar_reader scalars{model};
  scale_key key;
  for (auto const& t : model.tensors()) {
    if (!is_input_scale(t.name) || t.type != dtype::f32 || t.elements() != 1) continue;
    auto const place = model.place_of(t.name);
    if (place.expert < 0) continue;
    key.first = place.layer;
    key.second = place.rest;
    use(key, place.expert, scalars.read(t));
  }
}

/// The widest scale of each layer and projection.
class widest_scales {
 public:
  void add(scale_key const& key, float value) {
    auto const [at, is_new] = found_.try_emplace(key, value);
    if (!is_new) at->second = wider(key.second, at->second, value);
  }
  std::map<scale_key, float> const& found() const { return found_; }

 private:
  std::map<scale_key, float> found_;
};

/// The same over all experts of these layers.
inline std::map<scale_key, float> widest_input_scales(checkpoint const& model, std::map<int, std::vector<int>> const& layers) {
  widest_scales out;
  each_input_scale(model, [&](scale_key const& key, int, float value) {
    if (layers.contains(key.first)) out.add(key, value);
  });
  return out.found();
}

}  // namespace detail

/// Where pruning to these keep-sets loses the widest scale of activations.
/// Reads scalars.
inline std::vector<input_scale_change> lost_input_scales(checkpoint const& model, std::map<int, std::vector<int>> const& kept) {
  detail::widest_scales before, after;
  detail::each_input_scale(model, [&](detail::scale_key const& key, int expert, float value) {
    auto const layer = kept.find(key.first);
    if (layer == kept.end()) return;
    before.add(key, value);
    if (std::binary_search(layer->second.begin(), layer->second.end(), expert)) after.add(key, value);
  });
  std::vector<input_scale_change> out;
  for (auto const& [key, value] : before.found()) {
    auto const found = after.found().find(key);
    if (found != after.found().end() && found->second != value) out.push_back({key.first, key.second, value, found->second});
  }
  return out;
}

CULL_NAMESPACE_END
