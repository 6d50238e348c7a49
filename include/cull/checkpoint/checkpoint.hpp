// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/config_view.hpp>
#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/expert_set.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/index.hpp>
#include <cull/checkpoint/ledger.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/model_settings.hpp>
#include <cull/checkpoint/names.hpp>
#include <cull/checkpoint/safetensors_file.hpp>
#include <cull/checkpoint/stored_formats.hpp>
#include <cull/checkpoint/stored_values.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/expert/moe_layer.hpp>

CULL_NAMESPACE_BEGIN

struct open_options {
  std::optional<cull::family> family = {};  ///< instead of the known family that config.json names; see `load_family`
  leniency allowed = {};
};

/// A model directory: config.json and safetensors shards, with or without an index. Opening reads config and headers only;
/// weights are mapped and used where they lie, so views taken from a checkpoint are valid as long as it. Cheap to copy.
class checkpoint {
 public:
  /// Throws `errc::not_found`, `errc::missing_shard` to `duplicate_tensor` (index and shards disagree), `errc::bad_config` (so do
  /// config and tensors), `errc::unsupported_model`, and what `safetensors_file` and `read_index` throw.
  static checkpoint open(std::filesystem::path dir, open_options options = {});

  std::filesystem::path const& dir() const { return state_->dir; }
  /// What it was opened with.
  leniency const& allowed() const { return state_->allowed; }
  config_view const& config() const { return state_->config; }
  cull::family const& family() const { return state_->family; }
  /// The model's files, ascending by name; `tensor_info::shard` is a place in it.
  std::vector<safetensors_shard> const& shards() const { return state_->shards; }
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
  /// All elements of an F32, BF16 or F16 tensor.
  std::vector<float> values(std::string_view name) const {
    auto const& info = require(name);
    return detail::plain_values({&info, bytes(info)});
  }
  /// The matrix whose weight has that name ("....weight"), in the format its tensors show; `M` lists the formats that count.
  /// Throws `errc::incomplete_expert` where there is none, `errc::unsupported_format`.
  template <class M = weight_matrix>
  M matrix(std::string_view name) const {
    constexpr std::string_view suffix = ".weight";
    return detail::matrix_reader<M>::read(
        site(std::string{name.substr(0, name.size() - (name.ends_with(suffix) ? suffix.size() : 0))}));
  }
  /// Where a matrix is stored, by the stem of its tensors' names.
  matrix_site site(std::string stem, int expert = -1, row_share share = {}, bool transposed = false) const {
    auto const find_data = [this](std::string const& name) -> std::optional<tensor_data> {
      auto const* const info = find(name);
      return info == nullptr ? std::nullopt : std::optional{tensor_data{info, bytes(*info)}};
    };
    return {find_data, dir().string(), std::move(stem), expert, share, transposed};
  }

  /// Numbers of the layers with routed experts, ascending; MTP layers are the last.
  std::vector<int> const& moe_layers() const { return state_->moe_layers; }
  std::vector<int> mtp_layers() const {
    std::vector<int> out;
    for (int const layer : moe_layers()) {
      if (layer >= hidden_layers()) out.push_back(layer);
    }
    return out;
  }
  /// Layers before the MTP layers.
  int hidden_layers() const { return state_->hidden_layers; }
  /// Experts of every MoE layer, without zero-compute ones; where layers differ, of the largest.
  int experts() const { return state_->experts; }
  /// Experts of the layer with that number.
  int experts(int layer) const {
    auto const& listed = state_->listed_experts;
    return listed.empty() ? experts() : listed.at(static_cast<std::size_t>(layer));
  }
  /// Experts of all MoE layers, in their order.
  std::vector<int> expert_counts() const {
    std::vector<int> out;
    for (int const layer : moe_layers()) out.push_back(experts(layer));
    return out;
  }
  /// Experts whose tensors are not what config.json and the other experts lead to expect. A plan that needs them is refused.
  std::vector<expert_note> const& expert_notes() const { return state_->expert_notes; }
  router_settings const& router() const { return state_->router; }
  /// The routed part of one layer, as views; `M` lists the formats that count, the user's own among them.
  /// Throws `errc::out_of_range`, `errc::incomplete_expert`, `errc::unsupported_format`.
  template <class M = weight_matrix>
  cull::moe_layer<M> moe_layer(int number) const;

  tensor_place place_of(std::string_view name) const { return locate(family(), hidden_layers(), name); }
  /// Name of a tensor of a MoE layer, or of one of its experts.
  std::string name_in(int layer, std::string_view rest) const {
    auto const found = state_->prefixes.find(layer);
    return (found != state_->prefixes.end() ? found->second : numbered(family().layers[0], layer)) + std::string{rest};
  }
  std::string name_in(int layer, int expert, std::string_view rest) const {
    return name_in(layer, numbered(family().experts, expert)) + std::string{rest};
  }
  /// Router tensors of a layer that the model has: weight, logit bias, correction bias.
  std::vector<tensor_info const*> router_tensors(int layer) const {
    std::vector<tensor_info const*> out;
    for (auto const& rest : {family().router, family().router_bias, family().correction_bias}) {
      auto const* const found = rest.empty() ? nullptr : find(name_in(layer, rest));
      if (found != nullptr) out.push_back(found);
    }
    return out;
  }

  /// 32 hex digits that stand for the model's architecture and routers: XXH128 of every tensor's name, type and shape, of the
  /// router settings, and of the bytes of all routers. Reads the routers, once.
  std::string const& digest() const {
    std::call_once(state_->digested, [this] { state_->digest = compute_digest(); });
    return state_->digest;
  }
  cull::ledger ledger() const { return make_ledger(family(), hidden_layers(), tensors()); }

 private:
  struct state {
    std::filesystem::path dir;
    leniency allowed;
    config_view config;
    cull::family family;
    std::vector<safetensors_shard> shards;
    std::vector<tensor_info> tensors;
    std::vector<std::string> warnings;
    std::vector<int> moe_layers;
    std::map<int, std::string> prefixes;  ///< of the MoE layers
    int hidden_layers = 0;
    int experts = 0;
    std::vector<int> listed_experts;  ///< by layer number, where layers differ
    router_settings router;
    std::vector<expert_note> expert_notes;
    mutable std::once_flag digested;
    mutable std::string digest;
  };
  friend class checkpoint_opener;

  explicit checkpoint(std::shared_ptr<state const> s) : state_(std::move(s)) {}

  std::string compute_digest() const;

  std::shared_ptr<state const> state_;
};

inline std::string checkpoint::compute_digest() const {
  detail::hasher hash;
  // Read instead of mapped: the routers of a large model are hundreds of megabytes.
  std::vector<std::byte> block(std::size_t{1} << 20);
  auto const add_bytes = [&](tensor_info const& t) {
    hash.add(t.bytes());
    auto const file = shards()[static_cast<std::size_t>(t.shard)].reopen();
    for (auto at = t.begin; at < t.end; at += block.size()) {
      auto const part = std::span{block}.first(static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), t.end - at)));
      file.read(at, part);
      hash.append(part);
    }
  };
  for (auto const& t : tensors()) {
    hash.add(t.name);
    hash.add(std::string{name(t.type)});
    for (auto const n : t.shape) hash.add(n);
  }
  auto const& r = router();
  hash.add(family().name);
  for (auto const n : {static_cast<int>(r.scoring), r.top_k, r.groups, r.top_groups, static_cast<int>(r.group_score),
                       static_cast<int>(r.renormalize), r.bias_in_weight ? 1 : 0, r.gate_on_input ? 1 : 0, r.zero_experts}) {
    hash.add(static_cast<std::uint64_t>(n));
  }
  for (auto const value : {r.scaling, r.epsilon, r.minimum}) hash.add(std::as_bytes(std::span{&value, 1}));
  for (int const layer : moe_layers()) {
    for (auto const* const t : router_tensors(layer)) add_bytes(*t);
  }
  return hash.hex();
}

CULL_NAMESPACE_END
