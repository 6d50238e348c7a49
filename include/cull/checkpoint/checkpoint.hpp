// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/config_view.hpp>
#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/index.hpp>
#include <cull/checkpoint/ledger.hpp>
#include <cull/checkpoint/safetensors_file.hpp>
#include <cull/checkpoint/stored_matrix.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/expert/moe_layer.hpp>

CULL_NAMESPACE_BEGIN

/// A model directory: config.json and safetensors shards, with or without an index. Opening reads config and headers only;
/// weights are mapped and used where they lie, so views taken from a checkpoint are valid as long as it. Cheap to copy.
class checkpoint {
 public:
  /// Throws `errc::not_found`, `errc::bad_index` (index and shards disagree), `errc::bad_config` (so do config and tensors),
  /// `errc::unsupported_model`, and what `safetensors_file` throws.
  static checkpoint open(std::filesystem::path dir);

  std::filesystem::path const& dir() const { return state_->dir; }
  config_view const& config() const { return state_->config; }
  cull::family const& family() const { return *state_->family; }
  /// The model's files, ascending by name; `tensor_info::shard` is a place in it.
  std::vector<safetensors_file> const& shards() const { return state_->shards; }
  /// Things that are unusual but not wrong, for people.
  std::vector<std::string> const& warnings() const { return state_->warnings; }

  /// All tensors, ascending by name.
  std::vector<tensor_info> const& tensors() const { return state_->tensors; }
  tensor_info const* find(std::string_view name) const { return detail::find_tensor(tensors(), name); }
  /// The same, or throws `errc::not_found`.
  tensor_info const& require(std::string_view name) const {
    if (auto const* found = find(name)) return *found;
    throw error{errc::not_found, "is not in the model", {.file = dir().string(), .tensor = std::string{name}}};
  }
  std::span<std::byte const> bytes(tensor_info const& tensor) const {
    return state_->shards[static_cast<std::size_t>(tensor.shard)].bytes(tensor);
  }
  /// All elements of an F32 or BF16 tensor.
  std::vector<float> values(std::string_view name) const { return detail::plain_values(data(name)); }
  /// The matrix whose weight has that name ("....weight"), in the format its tensors show: plain, or modelopt NVFP4 with the
  /// companions `_scale` and `_scale_2`. Throws `errc::not_found`, `errc::unsupported_format`.
  weight_matrix matrix(std::string_view name) const {
    auto const scales = std::string{name} + "_scale";
    if (find(scales) == nullptr) return detail::plain_matrix(data(name));
    return detail::nvfp4_matrix(data(name), data(scales), data(std::string{name} + "_scale_2"));
  }

  /// Numbers of the layers with routed experts, ascending; MTP layers are the last.
  std::vector<int> const& moe_layers() const { return state_->moe_layers; }
  std::vector<int> mtp_layers() const {
    std::vector<int> out;
    for (int const layer : moe_layers()) {
      if (layer >= state_->hidden_layers) out.push_back(layer);
    }
    return out;
  }
  /// Experts of every MoE layer.
  int experts() const { return state_->experts; }
  router_settings const& router() const { return state_->router; }
  /// The routed part of one layer, as views. Throws `errc::out_of_range`, `errc::incomplete_expert`, `errc::unsupported_format`.
  cull::moe_layer<> moe_layer(int number) const;
  /// Name of a tensor of a layer, or of one of its experts.
  std::string name_in(int layer, std::string_view rest) const {
    return numbered(family().layer_prefix, layer) + std::string{rest};
  }
  std::string name_in(int layer, int expert, std::string_view rest) const {
    return name_in(layer, numbered(family().expert_prefix, expert)) + std::string{rest};
  }

  /// 32 hex digits that stand for the model's architecture and routers: XXH128 of every tensor's name, type and shape, of the
  /// router settings, and of the bytes of all routers. Reads the routers.
  std::string digest() const;
  cull::ledger ledger() const { return make_ledger(family(), tensors()); }

 private:
  struct state {
    std::filesystem::path dir;
    config_view config;
    cull::family const* family = nullptr;
    std::vector<safetensors_file> shards;
    std::vector<tensor_info> tensors;
    std::vector<std::string> warnings;
    std::vector<int> moe_layers;
    int hidden_layers = 0;
    int experts = 0;
    router_settings router;
  };
  friend class checkpoint_opener;

  explicit checkpoint(std::shared_ptr<state const> s) : state_(std::move(s)) {}
  detail::tensor_data data(std::string_view name) const {
    auto const& info = require(name);
    return {&info, bytes(info)};
  }

  std::shared_ptr<state const> state_;
};

inline cull::moe_layer<> checkpoint::moe_layer(int number) const {
  if (!std::binary_search(moe_layers().begin(), moe_layers().end(), number)) {
    throw error{errc::out_of_range, "layer " + std::to_string(number) + " has no routed experts", {.file = dir().string()}};
  }
  cull::moe_layer<> out;
  out.number = number;
  out.router = router();
  out.router_weight = matrix(name_in(number, family().router_weight));
  if (auto const bias = name_in(number, family().correction_bias); find(bias) != nullptr) out.correction_bias = values(bias);
  for (int e = 0; e < experts(); ++e) {
    auto const part = [&](std::string_view rest) {
      auto const full = name_in(number, e, rest);
      if (find(full) == nullptr) throw error{errc::incomplete_expert, "is missing", {.file = dir().string(), .tensor = full}};
      return matrix(full);
    };
    out.experts.push_back({part(family().gate), part(family().up), part(family().down)});
  }
  return out;
}

inline std::string checkpoint::digest() const {
  detail::hasher hash;
  for (auto const& t : tensors()) {
    hash.add(t.name);
    hash.add(std::string{name(t.type)});
    for (auto const n : t.shape) hash.add(n);
  }
  auto const& r = router();
  hash.add(std::string{family().model_type});
  for (auto const n : {static_cast<int>(r.scoring), r.top_k, r.groups, r.top_groups, static_cast<int>(r.group_score),
                       static_cast<int>(r.renormalize)}) {
    hash.add(static_cast<std::uint64_t>(n));
  }
  hash.add(std::as_bytes(std::span{&r.scaling, 1}));
  for (int const layer : moe_layers()) {
    hash.add(bytes(require(name_in(layer, family().router_weight))));
    if (auto const* bias = find(name_in(layer, family().correction_bias))) hash.add(bytes(*bias));
  }
  return hash.hex();
}

CULL_NAMESPACE_END
