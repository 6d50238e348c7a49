// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/expert_tensors.hpp>
#include <cull/checkpoint/serving/exclude_pattern.hpp>
#include <cull/checkpoint/serving/expert_settings.hpp>
#include <cull/checkpoint/serving/expert_storage.hpp>
#include <cull/checkpoint/serving/quantization_facts.hpp>
#include <cull/checkpoint/serving/serving_check.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// What the configs say of the quantisation, beside what the tensors are.
class config_checks {
 public:
  config_checks(checkpoint const& model, expert_storage_table const& table, quantization_facts const& facts,
                expert_settings const& settings)
      : model_(model), table_(table), facts_(facts), settings_(settings), compressed_(facts.is_compressed()) {
    for (auto const& entry : facts.all_excludes()) patterns_.emplace_back(entry, compressed_);
    for (auto const& [key, matrix] : table.matrices()) {
      if (matrix.weight() == nullptr) continue;
      if (matrix.scheme.what == storage_scheme::kind::plain) {
        // Names of experts differ by their number alone.
        if (key.expert <= 0) plain_.emplace(key.layer, matrix.stem);
        continue;
      }
      quantised_.push_back(matrix.stem);
      all_quantised_ += matrix.stem + "\n";
    }
  }

  std::vector<serving_check> run() {
    check_algorithm();
    check_lists();
    check_hits();
    check_plain();
    return std::move(out_);
  }

 private:
  void add(serving_check check) { out_.push_back(std::move(check)); }
  bool any_stored(storage_scheme::kind how) const {
    return std::any_of(table_.matrices().begin(), table_.matrices().end(),
                       [&](auto const& each) { return each.second.scheme.what == how; });
  }

  void check_algorithm() {
    bool const modelopt = any_stored(storage_scheme::kind::nvfp4_modelopt);
    if (!modelopt && !any_stored(storage_scheme::kind::nvfp4_compressed)) return;
    std::vector<std::string> wrong, unusual;
    if (modelopt) {
      look_at_modelopt(wrong, unusual);
      if (facts_.hf.is_null()) unusual.push_back("there is no hf_quant_config.json");
    } else {
      look_at_compressed(wrong);
    }
    std::set<std::int64_t> sizes;
    for_nvfp4([&](auto const& stem, auto const& module) { sizes.merge(settings_.group_sizes(stem, module)); });
    for (auto const size : sizes) {
      if (size != 16) wrong.push_back("a group_size of " + std::to_string(size));
    }
    auto const cache = member(facts_.config, "kv_cache_scheme");
    if (!cache.is_null() && (text_of(member(cache, "type")) != "float" || member(cache, "num_bits") != 8))
      unusual.push_back("kv_cache_scheme is not float of 8 bits");
    add({"the configs say NVFP4, with all that goes with it",
         wrong.empty() ? when(unusual.empty(), serving_verdict::note) : serving_verdict::bad,
         first_of(wrong.empty() ? unusual : wrong, modelopt ? "modelopt" : "compressed-tensors"),
         "refuses another algorithm, and where config.json says nothing, a hf_quant_config.json without group_size, "
         "kv_cache_quant_algo and exclude_modules; "
         "ignores another kv_cache_scheme",
         "reads hf_quant_config.json, and config.json where there is none", "reads hf_quant_config.json"});
  }
  /// Calls `look(stem, module)` for every matrix that is NVFP4.
  void for_nvfp4(auto&& look) const {
    std::map<int, std::string> modules;
    for (auto const& [key, matrix] : table_.matrices()) {
      if (!matrix.scheme.is_nvfp4()) continue;
      auto& module = modules[key.layer];
      if (module.empty()) module = expert_module(model_, key.layer);
      look(matrix.stem, module);
    }
  }
  static bool is_nvfp4(std::string const& algorithm) { return algorithm == "NVFP4" || algorithm == "W4A16_NVFP4"; }
  void look_at_modelopt(std::vector<std::string>& wrong, std::vector<std::string>& unusual) const {
    auto const check = [&](json const& of, std::string const& file) {
      if (expert_settings::is_mixed(of)) return look_at_mixed(of, file, wrong);
      auto const algorithm = upper(text_of(member(of, "quant_algo")));
      if (!is_nvfp4(algorithm))
        wrong.push_back(file + " says " + (algorithm.empty() ? "no quant_algo" : "quant_algo " + algorithm));
    };
    if (!facts_.config.is_null()) check(facts_.config, "config.json");
    if (!facts_.hf.is_null()) {
      check(facts_.hf, "hf_quant_config.json");
      for (auto const* const key : {"group_size", "kv_cache_quant_algo", "exclude_modules"}) {
        // Nobody demands them of mixed precision, nor vLLM of the file where config.json says all.
        if (facts_.hf.contains(key) || expert_settings::is_mixed(facts_.hf)) continue;
        (facts_.config.is_null() ? wrong : unusual).push_back(std::string{"hf_quant_config.json has no "} + key);
      }
    }
    if (facts_.config.is_null() && facts_.hf.is_null()) wrong.push_back("neither config says that anything is quantised");
  }
  void look_at_mixed(json const& of, std::string const& file, std::vector<std::string>& wrong) const {
    if (member(of, "quantized_layers").empty())
      return wrong.push_back(file + " says quant_algo MIXED_PRECISION without quantized_layers");
    for_nvfp4([&](auto const& stem, auto const& module) {
      auto const algorithm = expert_settings::algorithm_in(of, stem, module);
      if (!is_nvfp4(algorithm))
        wrong.push_back(file + " says " + (algorithm.empty() ? "no quant_algo" : "quant_algo " + algorithm) + " of " + stem);
    });
  }
  void look_at_compressed(std::vector<std::string>& wrong) const {
    std::set<std::string> found;
    for_nvfp4([&](auto const& stem, auto const& module) {
      auto const* const group = settings_.group_of(stem, module);
      if (group == nullptr && settings_.has_groups()) {
        if (settings_.are_groups_judged()) found.insert("no group of config.json has a target that " + stem + " matches");
        return;
      }
      auto const* const own = member_at(group, "format");
      auto const format = own == nullptr ? text_of(member(facts_.config, "format")) : text_of(*own);
      if (!compressed_ || format != "nvfp4-pack-quantized")
        found.insert("config.json does not say compressed-tensors, nvfp4-pack-quantized" +
                     (own == nullptr ? std::string{} : " but " + format));
    });
    wrong.assign(found.begin(), found.end());
  }

  void check_lists() {
    auto const ignored = facts_.ignored(), excluded = facts_.excluded();
    std::vector<std::string> wrong;
    for (auto const& list : {ignored, excluded, facts_.targets()}) {
      for (auto const& name : list) {
        auto const place = model_.place_of(name + ".");
        bool const moe =
            std::find(model_.moe_layers().begin(), model_.moe_layers().end(), place.layer) != model_.moe_layers().end();
        if (place.expert >= 0 && (!moe || place.expert >= model_.experts(place.layer))) wrong.push_back(name + " is not there");
      }
    }
    if (!ignored.empty() && !excluded.empty() && ignored != excluded)
      wrong.push_back("config.json and hf_quant_config.json differ");
    add({"lists of modules name no dropped expert and are equal", when(wrong.empty(), serving_verdict::note),
         first_of(wrong, std::to_string(std::max(ignored.size(), excluded.size())) + " modules that are not quantised, " +
                             std::to_string(facts_.targets().size()) + " that are"),
         "reads the list of one of the two files; an entry too many may hit another module", "reads hf_quant_config.json",
         "reads hf_quant_config.json"});
  }

  /// Entries that hit what is quantised: "layers.1" is part of "layers.10".
  void check_hits() {
    std::vector<std::string> wrong;
    for (auto const& pattern : patterns_) {
      if (pattern.is_plain()) {
        auto const at = pattern.text().empty() ? std::string::npos : all_quantised_.find(pattern.text());
        if (at == std::string::npos) continue;
        auto const begin = all_quantised_.rfind('\n', at) + 1;
        wrong.push_back(pattern.text() + " hits " + all_quantised_.substr(begin, all_quantised_.find('\n', at) - begin));
        continue;
      }
      auto const hit = std::find_if(quantised_.begin(), quantised_.end(), [&](auto const& stem) { return pattern.hits(stem); });
      if (hit != quantised_.end()) wrong.push_back(pattern.text() + " hits " + *hit);
    }
    add({"no entry of them hits an expert that is quantised", when(wrong.empty(), serving_verdict::bad),
         first_of(wrong, "none does"),
         "an entry hits every name that it is part of, so that layers.1 leaves layers.10 unquantised too, whose weights then "
         "do not fit",
         "likewise", "matches whole names and patterns only"});
  }

  /// Experts that are not quantised in a model that is, as MTP layers often.
  void check_plain() {
    if (plain_.empty() || (facts_.config.is_null() && facts_.hf.is_null())) return;
    std::vector<std::string> wrong;
    for (auto const& each : plain_) {
      auto const whole = expert_module(model_, each.first);
      if (!settings_.is_targeted(each.second, whole)) continue;
      bool const listed =
          std::any_of(patterns_.begin(), patterns_.end(), [&](auto const& p) { return p.hits(each.second) || p.hits(whole); });
      if (!listed) wrong.push_back(each.second + " is not");
    }
    for (auto const& name : texts_in(member(facts_.config, "modules_to_not_convert"))) {
      std::erase_if(wrong, [&](auto const& each) { return each.find(name) != std::string::npos; });
    }
    add({"experts that are not quantised are on a list", when(wrong.empty(), serving_verdict::bad), first_of(wrong, "they are"),
         "builds the layer quantised, and its weights do not fit; a draft of MTP layers looks under its own prefix", "likewise",
         "likewise"});
  }

  checkpoint const& model_;
  expert_storage_table const& table_;
  quantization_facts const& facts_;
  expert_settings const& settings_;
  bool compressed_;
  std::vector<exclude_pattern> patterns_;
  std::set<std::pair<int, std::string>> plain_;  ///< by layer, of one expert each
  std::vector<std::string> quantised_;
  std::string all_quantised_;  ///< a line each
  std::vector<serving_check> out_;
};

}  // namespace detail
CULL_NAMESPACE_END
