// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// What a pruned model must contain, worked out for `verify` by another way
/// than `apply` takes: names are split at their dots and compared piece by
/// piece with the family's patterns.
class expectation {
 public:
  struct tensor {
    tensor_info const* source = nullptr;
    std::vector<int> places;  ///< of `axis`; empty: all
    std::size_t axis = 0;
    std::optional<float> value = {};  ///< instead of the source's bytes
  };

  expectation(checkpoint const& model, std::map<int, std::vector<int>> const& kept) : model_(model), kept_(kept) {
    auto const& of = model.family();
    for (auto const& prefix : of.layers) layers_.push_back({without_end(split(prefix)), 0});
    for (auto const& prefix : of.mtp_layers) layers_.push_back({without_end(split(prefix)), model.hidden_layers()});
    if (!of.experts.empty()) expert_pieces_ = without_end(split(of.experts));
  }

  /// A module or tensor name as the pruned model spells it; nothing where it is
  /// gone.
  std::optional<std::string> name(std::string const& source) const {
    auto pieces = split(source);
    auto const at = layer_of(pieces);
    if (!at) return source;
    if (is_dropped_layer(at->number)) return std::nullopt;
    auto const expert = number_at(pieces, at->pieces, expert_pieces_);
    auto const kept = kept_.find(at->number);
    if (!expert || kept == kept_.end()) return source;
    auto const place = std::find(kept->second.begin(), kept->second.end(), *expert);
    if (place == kept->second.end()) return std::nullopt;
    pieces[at->pieces + place_of_number(expert_pieces_)] = std::to_string(place - kept->second.begin());
    return join(pieces);
  }

  /// Every tensor of the pruned model by name.
  std::map<std::string, tensor> tensors() const {
    std::map<std::string, tensor> out;
    for (auto const& t : model_.tensors()) {
      if (auto const now = name(t.name)) out[*now] = gathered(t);
    }
    return out;
  }
  /// An expert's name without its number, so that the experts of a layer have
  /// one; nothing for other names.
  std::optional<std::string> name_of_all_experts(std::string const& source) const {
    auto pieces = split(source);
    auto const at = layer_of(pieces);
    if (!at || !number_at(pieces, at->pieces, expert_pieces_)) return std::nullopt;
    pieces[at->pieces + place_of_number(expert_pieces_)] = "*";
    return join(pieces);
  }
  /// True for the name of an expert of a layer that has none in the pruned model.
  bool is_lost_expert(std::string const& source) const {
    auto const pieces = split(source);
    auto const at = layer_of(pieces);
    return at && number_at(pieces, at->pieces, expert_pieces_) && !kept_.contains(at->number);
  }
  /// True for the weights, scales and biases of routed experts, by their name
  /// in the source.
  bool is_expert(std::string const& source) const {
    auto const pieces = split(source);
    auto const at = layer_of(pieces);
    return at && (number_at(pieces, at->pieces, expert_pieces_) || is_fused(rest_of(pieces, at->pieces)));
  }

 private:
  static std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> out(1);
    for (char const c : text) {
      if (c == '.') {
        out.emplace_back();
      } else {
        out.back() += c;
      }
    }
    return out;
  }
  static std::string join(std::vector<std::string> const& pieces) {
    std::string out;
    for (auto const& piece : pieces) out += (out.empty() ? "" : ".") + piece;
    return out;
  }
  static std::vector<std::string> without_end(std::vector<std::string> pieces) {
    pieces.pop_back();
    return pieces;
  }
  static std::string rest_of(std::vector<std::string> const& pieces, std::size_t first) {
    return join({pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end()});
  }
  static std::size_t place_of_number(std::vector<std::string> const& pattern) {
    return static_cast<std::size_t>(std::find(pattern.begin(), pattern.end(), "{}") - pattern.begin());
  }
  static std::optional<int> number_at(std::vector<std::string> const& pieces, std::size_t first,
                                      std::vector<std::string> const& pattern) {
    if (pattern.empty()) return std::nullopt;
    std::optional<int> number;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (first + i >= pieces.size()) return std::nullopt;
      auto const& piece = pieces[first + i];
      if (pattern[i] != "{}") {
        if (piece != pattern[i]) return std::nullopt;
        continue;
      }
      if (piece.empty() || piece.size() > 6 || piece.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
      number = std::stoi(piece);
    }
    return number;
  }

  bool is_dropped_layer(int layer) const {
    auto const& moe = model_.moe_layers();
    return std::find(moe.begin(), moe.end(), layer) != moe.end() && !kept_.contains(layer);
  }
  /// Router tensors keep the rows of kept and of zero-compute experts, fused
  /// tensors those of kept experts.
  tensor gathered(tensor_info const& t) const {
    auto const pieces = split(t.name);
    auto const at = layer_of(pieces);
    auto const kept = at ? kept_.find(at->number) : kept_.end();
    if (kept == kept_.end() || number_at(pieces, at->pieces, expert_pieces_)) return {.source = &t, .places = {}};
    auto const rest = rest_of(pieces, at->pieces);
    auto const& of = model_.family();
    if (is_fused(rest) && !t.shape.empty() && t.shape[0] == static_cast<std::uint64_t>(model_.experts(at->number)))
      return {.source = &t, .places = kept->second};
    if (rest != of.router && rest != of.router_bias && rest != of.correction_bias) return {.source = &t, .places = {}};
    tensor out{.source = &t,
               .places = kept->second,
               .axis = rest == of.correction_bias ? static_cast<std::size_t>(of.correction_axis) : 0};
    for (auto id = static_cast<std::uint64_t>(model_.experts(at->number)); id < t.shape.at(out.axis); ++id)
      out.places.push_back(static_cast<int>(id));
    return out;
  }
  bool is_fused(std::string const& rest) const {
    auto const& f = model_.family().fused;
    for (auto const* const stem : {&f.gate_up, &f.gate, &f.up, &f.down}) {
      if (stem->empty() || rest.compare(0, stem->size(), *stem) != 0) continue;
      if (rest.size() == stem->size() || rest[stem->size()] == '_' || rest[stem->size()] == '.') return true;
    }
    return false;
  }

  struct layer_place {
    int number;
    std::size_t pieces;  ///< how many the layer's prefix takes
  };
  std::optional<layer_place> layer_of(std::vector<std::string> const& pieces) const {
    for (auto const& [pattern, base] : layers_) {
      if (auto const number = number_at(pieces, 0, pattern)) return layer_place{base + *number, pattern.size()};
    }
    return std::nullopt;
  }

  checkpoint const& model_;
  std::map<int, std::vector<int>> const& kept_;
  std::vector<std::pair<std::vector<std::string>, int>> layers_;  ///< pieces of a prefix, and the number of its layer 0
  std::vector<std::string> expert_pieces_;
};

}  // namespace detail
CULL_NAMESPACE_END
