// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/audit.hpp>
#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/mapped_file.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

enum class serving_verdict { good, note, bad };

/// One demand of the engines that serve such checkpoints, and what this
/// checkpoint has.
struct serving_check {
  std::string demand = {};
  serving_verdict verdict = serving_verdict::good;
  std::string found = {};
  std::string vllm = {}, sglang = {}, tensorrt_llm = {};  ///< what it means there
};

/// Block scales are most of what there is to read.
enum class block_scales { scan, skip };

namespace detail {

class serving_inspector {
 public:
  serving_inspector(checkpoint const& model, block_scales scales)
      : model_(model), scales_(scales), parts_(parts_by_layer(model)) {}

  std::vector<serving_check> run() {
    check_counts();
    check_choice();
    check_completeness();
    check_tensor_scales();
    if (scales_ == block_scales::scan) check_block_scales();
    check_ignore_lists();
    check_expert_parallel();
    check_mtp();
    return std::move(out_);
  }

 private:
  void add(serving_check check) { out_.push_back(std::move(check)); }
  static serving_verdict when(bool good, serving_verdict otherwise) { return good ? serving_verdict::good : otherwise; }
  static std::string first_of(std::vector<std::string> const& list, std::string const& none) {
    if (list.empty()) return none;
    return list[0] + (list.size() > 1 ? " and " + std::to_string(list.size() - 1) + " more" : "");
  }
  bool every_count(auto&& holds) const {
    auto const counts = model_.expert_counts();
    return std::all_of(counts.begin(), counts.end(), holds);
  }
  /// "168", or "96 to 168" where layers differ.
  std::string counts_text() const {
    auto const counts = model_.expert_counts();
    if (counts.empty()) return "0";
    auto const [low, high] = std::minmax_element(counts.begin(), counts.end());
    return *low == *high ? std::to_string(*low) : std::to_string(*low) + " to " + std::to_string(*high);
  }

  void check_counts() {
    std::vector<std::string> wrong;
    for (auto const& [layer, experts] : parts_) {
      if (!experts.empty() && static_cast<int>(experts.size()) != model_.experts(layer))
        wrong.push_back("layer " + std::to_string(layer) + " has " + std::to_string(experts.size()));
    }
    add({"one number of experts in every MoE layer, MTP included", when(wrong.empty(), serving_verdict::bad),
         counts_text() + " in config.json; " + first_of(wrong, "all layers agree"),
         "builds every layer from one number; an expert beyond it ends in a "
         "KeyError",
         "likewise", "likewise"});
  }

  void check_choice() {
    auto const& r = model_.router();
    int const groups = std::max(1, r.groups), top = std::max(1, r.top_groups);
    bool const fits = every_count([&](int n) {
      return n >= r.top_k && n % groups == 0 && (groups == 1 || n / groups >= 2) && std::min(groups, top) * (n / groups) >= r.top_k;
    });
    bool const suits_kernels = every_count([&](int n) { return n % 4 == 0 && n > r.top_k; });
    add({"the router's choice fits what is left", when(fits, serving_verdict::bad),
         "top " + std::to_string(r.top_k) + " of " + counts_text() + " in " + std::to_string(groups) +
             " group(s), of which " + std::to_string(std::min(groups, top)),
         "grouped top-k fails or falls back to plain top-k", "grouped top-k fails", "routing kernels refuse the shape"});
    add({"a number of experts that routing kernels take", when(suits_kernels, serving_verdict::note), counts_text(),
         "FlashInfer's TensorRT-LLM kernels want a multiple of 4, above top-k; "
         "other backends do not care",
         "its CUTLASS path wants multiples of 16 on each rank", "wants a multiple of 4"});
  }

  void check_completeness() {
    std::vector<std::string> missing;
    audit_completeness(model_, parts_, missing);
    add({"every expert has all its tensors", when(missing.empty(), serving_verdict::bad), first_of(missing, "nothing is missing"),
         "scales that are not loaded stay uninitialised: NaN for tokens routed "
         "there; newer versions refuse to start",
         "likewise", "refuses to load"});
  }

  void check_tensor_scales() {
    std::vector<std::string> problems, wrong, unequal;
    audit_scales(model_, parts_, problems);
    for (auto& text : problems)
      (text.find("different tensor scales") != std::string::npos ? unequal : wrong).push_back(std::move(text));
    add({"tensor scales are finite numbers", when(wrong.empty(), serving_verdict::bad), first_of(wrong, "all are"),
         "NaN or infinite output", "likewise", "likewise"});
    add({"gate and up share a tensor scale", when(unequal.empty(), serving_verdict::note), first_of(unequal, "they do"),
         "warns, and takes gate's scale for both: up is scaled wrongly", "TensorRT-LLM kernels take both, Marlin takes gate's",
         "stops with a failed check"});
  }

  void check_block_scales() {
    std::vector<std::string> wrong;
    for (auto const& t : model_.tensors()) {
      if (t.type != dtype::f8_e4m3 || !t.name.ends_with("_scale")) continue;
      auto const bytes = model_.bytes(t);
      // 0x7f and 0xff are E4M3's only NaN.
      if (std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return (b & std::byte{0x7f}) == std::byte{0x7f}; }))
        wrong.push_back(t.name + " holds NaN");
    }
    add({"block scales are finite", when(wrong.empty(), serving_verdict::bad), first_of(wrong, "all are"),
         "refuses to load, older versions give NaN", "NaN for tokens routed there", "likewise"});
  }

  static std::set<std::string> names(json const& root, std::string const& section, std::string const& key) {
    std::set<std::string> out;
    if (!root.is_object() || !root.contains(section) || !root.at(section).is_object()) return out;
    auto const found = root.at(section).find(key);
    if (found == root.at(section).end() || !found->is_array()) return out;
    for (auto const& name : *found) {
      if (name.is_string()) out.insert(name.get<std::string>());
    }
    return out;
  }
  json read_json(char const* file) const {
    auto const path = model_.dir() / file;
    return std::filesystem::exists(path) ? parse_json(read_text(path), path.string()) : json{};
  }
  void check_ignore_lists() {
    auto const ignored = names(read_json("config.json"), "quantization_config", "ignore");
    auto const excluded = names(read_json("hf_quant_config.json"), "quantization", "exclude_modules");
    std::vector<std::string> stale;
    for (auto const& list : {ignored, excluded}) {
      for (auto const& name : list) {
        auto const place = model_.place_of(name + ".");
        if (place.expert >= model_.experts()) stale.push_back(name);
      }
    }
    bool const equal = ignored.empty() || excluded.empty() || ignored == excluded;
    add({"lists of modules that are not quantised", when(stale.empty() && equal, serving_verdict::note),
         first_of(stale, equal ? std::to_string(std::max(ignored.size(), excluded.size())) + " entries, none of a dropped expert"
                               : "config.json and hf_quant_config.json differ"),
         "matches by name, substring and pattern; an entry too many leaves a "
         "quantised layer unread",
         "reads hf_quant_config.json", "reads hf_quant_config.json"});
  }

  void check_expert_parallel() {
    std::string ranks;
    for (int r = 2; r <= 16; ++r) {
      if (every_count([&](int n) { return n % r == 0; })) ranks += (ranks.empty() ? "" : ", ") + std::to_string(r);
    }
    add({"experts split evenly over ranks", when(every_count([](int n) { return n % 8 == 0; }), serving_verdict::note),
         "over " + (ranks.empty() ? "no number of" : ranks) + " ranks",
         "a remainder goes to the first ranks; load balancing (EPLB) stops "
         "with a failed check",
         "wants an even split", "wants an even split"});
  }

  void check_mtp() {
    auto const mtp = model_.mtp_layers();
    if (mtp.empty()) return;
    add({"MTP layers have the number of experts of the others", serving_verdict::good,
         std::to_string(mtp.size()) + " MTP layer(s), " + counts_text() + " experts",
         "the draft is built from the same config", "likewise", "likewise"});
  }

  checkpoint const& model_;
  block_scales scales_;
  std::map<int, expert_parts> parts_;
  std::vector<serving_check> out_;
};

}  // namespace detail

/// What serving engines demand of a checkpoint and do not always check
/// themselves. Reads headers, scalars and, unless told otherwise, block scales.
/// From the sources of vLLM, SGLang and TensorRT-LLM as of autumn 2026.
inline std::vector<serving_check> serving_checks(checkpoint const& model, block_scales scales = block_scales::scan) {
  return detail::serving_inspector{model, scales}.run();
}

CULL_NAMESPACE_END
