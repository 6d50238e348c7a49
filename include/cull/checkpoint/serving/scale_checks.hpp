// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/serving/expert_settings.hpp>
#include <cull/checkpoint/serving/expert_storage.hpp>
#include <cull/checkpoint/serving/finite_scales.hpp>
#include <cull/checkpoint/serving/missing_tensors.hpp>
#include <cull/checkpoint/serving/serving_check.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Scales of tensors that are no finite numbers above 0: zero makes infinity of what is divided by it.
inline std::vector<std::string> tensor_scale_faults(checkpoint const& model) {
  std::vector<std::string> out;
  for (auto const& t : model.tensors()) {
    if (!is_tensor_scale(t)) continue;
    bool const number = t.type == dtype::f32 || t.type == dtype::bf16 || t.type == dtype::f16;
    auto const fault = number ? fault_of(model, t) : "is " + std::string{name(t.type)} + ", not F32";
    if (!fault.empty()) out.push_back(t.name + " " + fault);
  }
  return out;
}
/// Those of fewer bits, whose values are what they are.
inline std::vector<std::string> short_tensor_scales(checkpoint const& model) {
  std::vector<std::string> out;
  for (auto const& t : model.tensors()) {
    if (is_tensor_scale(t) && (t.type == dtype::bf16 || t.type == dtype::f16))
      out.push_back(t.name + " is " + std::string{name(t.type)} + ", not F32");
  }
  return out;
}

/// Layers some of whose experts have another scale for up than for gate, which engines fuse; suffixes of that scale in any
/// dialect.
inline std::vector<std::string> unequal_pairs(checkpoint const& model, expert_storage_table const& table,
                                              std::vector<std::string_view> const& suffixes, std::string const& what) {
  using kind = expert_matrix::kind;
  std::map<int, std::size_t> unequal;
  auto const values = [&](expert_matrix const* matrix, std::string_view suffix) {
    auto const* const t = matrix == nullptr ? nullptr : matrix->find(suffix);
    return t == nullptr || t->type != dtype::f32 ? std::vector<float>{} : plain_values({t, model.bytes(*t)});
  };
  for (auto const& [key, matrix] : table.matrices()) {
    auto& count = unequal[key.layer];
    for (auto const suffix : suffixes) {
      auto const mine = values(&matrix, suffix);
      if (key.what == kind::gate) {
        auto const others = values(table.find({key.layer, key.expert, kind::up}), suffix);
        for (std::size_t i = 0; i < std::min(mine.size(), others.size()); ++i) count += mine[i] != others[i] ? 1 : 0;
      } else if (key.what == kind::gate_up && !mine.empty() && matrix.find(suffix)->shape.size() == 2) {
        // One of gate and one of up for each expert.
        for (std::size_t i = 0; i + 1 < mine.size(); i += 2) count += mine[i] != mine[i + 1] ? 1 : 0;
      }
    }
  }
  std::vector<std::string> out;
  for (auto const& [layer, count] : unequal) {
    if (count > 0)
      out.push_back("layer " + std::to_string(layer) + ": " + std::to_string(count) + " experts have different " + what);
  }
  return out;
}
inline std::vector<std::string> unequal_weight_scales(checkpoint const& model, expert_storage_table const& table) {
  return unequal_pairs(model, table, {".weight_scale_2", "_weight_scale_2", ".weight_global_scale", "_global_scale"},
                       "tensor scales for gate and up");
}

/// What scales the weights have, and whether engines can fuse them.
class scale_checks {
 public:
  scale_checks(checkpoint const& model, expert_storage_table const& table, expert_settings const& settings)
      : model_(model), table_(table), settings_(settings) {}

  std::vector<serving_check> run(block_scales scales) {
    check_completeness();
    check_schemes();
    check_tensor_scales();
    check_block_scales(scales);
    check_gate_and_up();
    check_other_fused();
    return std::move(out_);
  }

 private:
  void add(serving_check check) { out_.push_back(std::move(check)); }

  void check_completeness() {
    auto const missing = missing_tensors(model_, table_, settings_);
    add({"every expert has all its tensors", when(missing.empty(), serving_verdict::bad), first_of(missing, "nothing is missing"),
         "scales that are not loaded stay uninitialised: NaN for tokens routed there; newer versions refuse to start", "likewise",
         "refuses to load"});
  }

  void check_schemes() {
    std::map<int, std::set<std::string_view>> schemes;
    for (auto const& each : table_.matrices()) {
      auto const& matrix = each.second;
      // One that lacks a scale is told elsewhere, and may be stored in any way.
      auto const& scales = matrix.scheme.scales;
      bool const whole = std::all_of(scales.begin(), scales.end(), [&](auto suffix) { return matrix.find(suffix) != nullptr; });
      if (matrix.weight() != nullptr && whole) schemes[each.first.layer].insert(matrix.scheme.name());
    }
    std::vector<std::string> mixed;
    std::set<std::string> all;
    for (auto const& [layer, names] : schemes) {
      std::vector<std::string> const list{names.begin(), names.end()};
      all.insert(list.begin(), list.end());
      if (names.size() > 1) mixed.push_back("layer " + std::to_string(layer) + ": " + joined(list));
    }
    add({"all matrices of a layer's experts are stored in one way", when(mixed.empty(), serving_verdict::bad),
         first_of(mixed, joined({all.begin(), all.end()})),
         "refuses: all projections of a layer's experts need the same quantisation; layers may differ where the lists say so",
         "likewise", "likewise"});
  }

  void check_tensor_scales() {
    auto const wrong = tensor_scale_faults(model_), narrow = short_tensor_scales(model_);
    add({"tensor scales are finite and above 0",
         wrong.empty() ? when(narrow.empty(), serving_verdict::note) : serving_verdict::bad,
         first_of(wrong.empty() ? narrow : wrong, "all are"),
         "NaN or infinite output, also of an input scale of 0, as of an expert that calibration never met", "likewise",
         "likewise"});
  }

  void check_block_scales(block_scales scales) {
    std::vector<std::string> wrong;
    for (auto const& t : model_.tensors()) {
      if (scales == block_scales::skip) break;
      using kind = storage_scheme::kind;
      auto const what = block_scale_of(model_, t);
      if (what == kind::unknown) continue;
      bool const signless = what != kind::int_compressed && what != kind::fp8;
      auto const fault = fault_of(model_, t, signless ? scale_range::above_0 : scale_range::finite);
      if (!fault.empty()) wrong.push_back(t.name + " " + fault);
    }
    bool const good = wrong.empty() && scales == block_scales::scan;
    add({"block scales are finite, without a sign", when(good, wrong.empty() ? serving_verdict::note : serving_verdict::bad),
         scales == block_scales::skip ? "not looked at" : first_of(wrong, "all are"),
         "refuses to load NaN, older versions compute with it; Marlin drops the bit of the sign", "NaN for tokens routed there",
         "likewise"});
  }

  void check_gate_and_up() {
    auto const weights = unequal_weight_scales(model_, table_);
    add({"gate and up share a tensor scale", when(weights.empty(), serving_verdict::note), first_of(weights, "they do"),
         "warns, and takes gate's scale for both: up is scaled wrongly", "TensorRT-LLM kernels take both, Marlin takes gate's",
         "stops with a failed check"});
    auto const inputs =
        unequal_pairs(model_, table_, {".input_scale", "_input_scale", ".input_global_scale", "_input_global_scale"},
                      "input scales for gate and up");
    add({"gate and up share an input scale", when(inputs.empty(), serving_verdict::note), first_of(inputs, "they do"),
         "takes the widest, of all experts on most backends: the others' activations are quantised more coarsely",
         "as vLLM where it calls the same kernels", "stops with a failed check"});
  }

  /// Of matrices outside of the experts that engines load as one.
  void check_other_fused() {
    static constexpr std::array<std::string_view, 2> scales{".weight_scale_2", ".weight_global_scale"};
    std::map<std::pair<std::string, std::string_view>, std::set<float>> groups;
    for (auto const& t : model_.tensors()) {
      if (model_.place_of(t.name).expert >= 0 || t.type != dtype::f32 || t.elements() != 1) continue;
      for (auto const suffix : scales) {
        if (!t.name.ends_with(suffix)) continue;
        auto const module = std::string_view{t.name}.substr(0, t.name.size() - suffix.size());
        for (std::string_view const part : {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}) {
          if (module.ends_with("." + std::string{part}))
            groups[{std::string{module.substr(0, module.size() - part.size())} + (part.size() == 6 ? "qkv_proj" : "gate_up_proj"),
                    suffix}]
                .insert(model_.values(t.name).at(0));
        }
      }
    }
    std::vector<std::string> unequal;
    for (auto const& [name, values] : groups) {
      if (values.size() > 1)
        unequal.push_back(name.first + " would be made of " + std::to_string(values.size()) + " tensor scales");
    }
    if (groups.empty()) return;
    add({"other matrices that are loaded as one share a tensor scale", when(unequal.empty(), serving_verdict::note),
         first_of(unequal, "they do"),
         "takes the greatest of modelopt's scales, and of compressed-tensors' the greatest divisor: the others' weights are "
         "scaled wrongly",
         "likewise", "likewise"});
  }

  checkpoint const& model_;
  expert_storage_table const& table_;
  expert_settings const& settings_;
  std::vector<serving_check> out_;
};

}  // namespace detail
CULL_NAMESPACE_END
