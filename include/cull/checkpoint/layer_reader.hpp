// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/expert/moe_layer.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Reads one MoE layer, whether each expert has its own tensors or all share a few.
template <class M>
class layer_reader {
 public:
  layer_reader(checkpoint const& model, int number) : model_(model), of_(model.family()), number_(number) {}

  moe_layer<M> read() {
    moe_layer<M> out;
    out.number = number_;
    out.router = model_.router();
    out.activation = read_activation(of_, model_.config(), number_);
    out.router_weight = at_layer(of_.router);
    out.router_bias = vector_at(of_.router_bias);
    out.correction_bias = vector_at(of_.correction_bias);
    out.latent_in = optional_at_layer(of_.latent_in);
    out.latent_out = optional_at_layer(of_.latent_out);
    bool const fused = is_fused();
    for (int e = 0; e < model_.experts(number_); ++e) out.experts.push_back(fused ? fused_expert(e) : own_expert(e));
    if (!biases_->empty()) out.bias_values = {biases_, &biases_->front()};
    return out;
  }

 private:
  /// Fused where a tensor of `down` has an axis of experts: "experts.down_proj", with or without a suffix.
  bool is_fused() const {
    auto const stem = model_.name_in(number_, of_.fused.down);
    auto const there = [&](char const* suffix) { return model_.find(stem + suffix) != nullptr; };
    return !of_.fused.down.empty() && (there("") || there(".weight") || there("_blocks") || there("_packed") || there(".weight_packed"));
  }

  M at_layer(std::string const& name) const { return model_.template matrix<M>(model_.name_in(number_, name)); }
  M optional_at_layer(std::string const& stem) const {
    if (stem.empty() || model_.find(model_.name_in(number_, stem) + ".weight") == nullptr) return {};
    return at_layer(stem);
  }
  std::vector<float> vector_at(std::string const& name) const {
    auto const full = model_.name_in(number_, name);
    if (name.empty() || model_.find(full) == nullptr) return {};
    return model_.values(full);
  }

  gated_expert<M> own_expert(int e) {
    auto const part = [&](std::string const& stem) {
      auto const at = model_.site(model_.name_in(number_, e, stem));
      return std::pair{matrix_reader<M>::read(at), bias(at)};
    };
    gated_expert<M> out;
    if (!of_.gate.empty()) std::tie(out.gate, out.gate_bias) = part(of_.gate);
    std::tie(out.up, out.up_bias) = part(of_.up);
    std::tie(out.down, out.down_bias) = part(of_.down);
    return out;
  }

  gated_expert<M> fused_expert(int e) {
    auto const& f = of_.fused;
    auto const part = [&](std::string const& stem, row_share share) {
      auto const at = model_.site(model_.name_in(number_, stem), e, share, f.transposed);
      return std::pair{matrix_reader<M>::read(at), bias(at)};
    };
    bool const interleaved = f.rows == fused_experts::arrangement::interleaved;
    bool const joined = !f.gate_up.empty() && (f.up.empty() || has_any(f.gate_up));
    gated_expert<M> out;
    if (joined) {
      std::tie(out.gate, out.gate_bias) = part(f.gate_up, {0, 2, interleaved});
      std::tie(out.up, out.up_bias) = part(f.gate_up, {1, 2, interleaved});
    } else {
      if (!f.gate.empty()) std::tie(out.gate, out.gate_bias) = part(f.gate, {});
      std::tie(out.up, out.up_bias) = part(f.up, {});
    }
    std::tie(out.down, out.down_bias) = part(f.down, {});
    return out;
  }
  bool has_any(std::string const& stem) const {
    auto const full = model_.name_in(number_, stem);
    auto const at = std::lower_bound(model_.tensors().begin(), model_.tensors().end(), full,
                                     [](auto const& t, auto const& n) { return t.name < n; });
    return at != model_.tensors().end() && has_stem(at->name, full);
  }

  /// A bias beside a matrix, as f32; kept in `biases_`, since experts hold views.
  array_view<float const> bias(matrix_site const& at) {
    auto const t = at.find_any({".bias", "_bias"});
    if (!t) return {};
    auto const all = plain_values(*t, at.expert_bytes(*t));
    auto const& share = at.share();
    auto const own = all.size() / static_cast<std::size_t>(share.of);
    auto const first = static_cast<std::size_t>(share.part) * (share.interleaved ? 1 : own);
    auto const step = share.interleaved ? static_cast<std::size_t>(share.of) : std::size_t{1};
    auto& kept = biases_->emplace_back(own);
    for (std::size_t i = 0; i < own; ++i) kept[i] = all[first + i * step];
    return {kept.data(), static_cast<std::int64_t>(kept.size())};
  }

  checkpoint const& model_;
  cull::family const& of_;
  int number_;
  std::shared_ptr<std::vector<std::vector<float>>> biases_ = std::make_shared<std::vector<std::vector<float>>>();
};

}  // namespace detail

template <class M>
cull::moe_layer<M> checkpoint::moe_layer(int number) const {
  if (!std::binary_search(moe_layers().begin(), moe_layers().end(), number)) {
    throw error{errc::out_of_range, "layer " + std::to_string(number) + " has no routed experts", {.file = dir().string()}};
  }
  return detail::layer_reader<M>{*this, number}.read();
}

CULL_NAMESPACE_END
