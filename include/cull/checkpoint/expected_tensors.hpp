// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// What a pruned model must contain, worked out for `verify` by another way than `apply` takes: names are split at their dots and
/// compared piece by piece with the family's patterns.
class expectation {
 public:
  struct tensor {
    tensor_info const* source = nullptr;
    std::vector<int> rows;  ///< empty: all
  };

  expectation(checkpoint const& model, std::map<int, std::vector<int>> const& kept) : model_(model), kept_(kept) {
    layer_pieces_ = split(model.family().layer_prefix);
    layer_pieces_.pop_back();
    expert_pieces_ = split(model.family().expert_prefix);
    expert_pieces_.pop_back();
  }

  /// A module or tensor name as the pruned model spells it; nothing where it is gone.
  std::optional<std::string> name(std::string const& source) const {
    auto pieces = split(source);
    auto const layer = number_at(pieces, 0, layer_pieces_);
    if (!layer) return source;
    if (is_dropped_layer(*layer)) return std::nullopt;
    auto const expert = number_at(pieces, layer_pieces_.size(), expert_pieces_);
    auto const kept = kept_.find(*layer);
    if (!expert || kept == kept_.end()) return source;
    auto const at = std::find(kept->second.begin(), kept->second.end(), *expert);
    if (at == kept->second.end()) return std::nullopt;
    pieces[layer_pieces_.size() + place_of_number(expert_pieces_)] = std::to_string(at - kept->second.begin());
    return join(pieces);
  }

  /// Every tensor of the pruned model by name.
  std::map<std::string, tensor> tensors() const {
    std::map<std::string, tensor> out;
    for (auto const& t : model_.tensors()) {
      if (auto const now = name(t.name)) out[*now] = {&t, rows(t.name)};
    }
    return out;
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
  static std::size_t place_of_number(std::vector<std::string> const& pattern) {
    return static_cast<std::size_t>(std::find(pattern.begin(), pattern.end(), "{}") - pattern.begin());
  }
  static std::optional<int> number_at(std::vector<std::string> const& pieces, std::size_t first,
                                      std::vector<std::string> const& pattern) {
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
  std::vector<int> rows(std::string const& source) const {
    for (auto const& [layer, kept] : kept_) {
      if (source == model_.name_in(layer, model_.family().router_weight) ||
          source == model_.name_in(layer, model_.family().correction_bias)) {
        return kept;
      }
    }
    return {};
  }

  checkpoint const& model_;
  std::map<int, std::vector<int>> const& kept_;
  std::vector<std::string> layer_pieces_, expert_pieces_;
};

}  // namespace detail
CULL_NAMESPACE_END
