// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/model_settings.hpp>
#include <cull/checkpoint/serving/expert_storage.hpp>
#include <cull/checkpoint/serving/serving_check.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// How many experts there are: in each layer, for the router, for the machines they are spread over.
class count_checks {
 public:
  count_checks(checkpoint const& model, expert_storage_table const& table) : model_(model), table_(table) {}

  std::vector<serving_check> run() {
    check_layers();
    check_mtp();
    check_choice();
    check_kernels();
    check_bias();
    check_ranks();
    check_local_experts();
    return std::move(out_);
  }

 private:
  void add(serving_check check) { out_.push_back(std::move(check)); }
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
  static std::string has(int layer, int count) { return "layer " + std::to_string(layer) + " has " + std::to_string(count); }

  void check_layers() {
    std::vector<std::string> wrong;
    for (int const layer : model_.moe_layers()) {
      int const there = static_cast<int>(table_.numbers(layer).size());
      bool const beyond = there > 0 && *table_.numbers(layer).rbegin() >= model_.experts(layer);
      if (!table_.is_fused(layer) && (beyond || there != model_.experts(layer))) wrong.push_back(has(layer, there));
    }
    auto const counts = model_.expert_counts();
    auto const other = std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>{});
    if (wrong.empty() && other != counts.end()) {
      auto const first = model_.moe_layers().begin() + (other - counts.begin());
      wrong.push_back(has(*first, *other) + ", " + has(first[1], other[1]));
    }
    add({"one number of experts in every MoE layer, MTP included", when(wrong.empty(), serving_verdict::bad),
         counts_text() + " in config.json; " + first_of(wrong, "all layers agree"),
         "builds every layer from one number: an expert beyond it ends in a KeyError, a router of another size is refused, and "
         "with shared-expert fusion a leftover is loaded in the shared expert's place; lists of numbers need a version that "
         "reads them",
         "likewise; its shared-expert fusion is tied to known numbers", "likewise"});
  }

  void check_mtp() {
    auto const mtp = model_.mtp_layers();
    auto const& of = model_.family();
    auto const said = of.mtp_key.empty() ? 0 : family_config{of, model_.config()}.integer(of.mtp_key, 0);
    if (mtp.empty() && said == 0) return;
    std::vector<std::string> wrong;
    for (int const layer : mtp) {
      int const first = model_.moe_layers().front();
      if (model_.experts(layer) != model_.experts(first))
        wrong.push_back(has(layer, model_.experts(layer)) + ", " + has(first, model_.experts(first)));
    }
    bool const declared = said == static_cast<std::int64_t>(mtp.size());
    auto const found = std::to_string(mtp.size()) + " MTP layer(s), config.json says " + std::to_string(said);
    add({"MTP layers as config.json says, with the number of experts of the others",
         wrong.empty() ? when(declared, serving_verdict::note) : serving_verdict::bad, first_of(wrong, found),
         "builds the draft from the same config: another number fails to load, and a layer that is declared and not there ends "
         "speculative decoding",
         "likewise", "likewise"});
  }

  void check_choice() {
    auto const& r = model_.router();
    int const groups = std::max(1, r.groups), top = std::min(groups, std::max(1, r.top_groups));
    bool const fits = every_count([&](int n) {
      return n >= r.top_k && n % groups == 0 && (groups == 1 || n / groups >= 2) && top * (n / groups) >= r.top_k;
    });
    bool const spare = every_count([&](int n) { return top * (n / groups) > r.top_k; });
    add({"the router's choice fits what is left", fits ? when(spare, serving_verdict::note) : serving_verdict::bad,
         "top " + std::to_string(r.top_k) + " of " + counts_text() + " in " + std::to_string(groups) + " group(s), of which " +
             std::to_string(top),
         "needs equal groups of at least two and, in those chosen, as many experts as are chosen: grouped top-k fails "
         "otherwise or falls back to plain top-k; its FlashInfer backends want more of them than are chosen",
         "grouped top-k fails where they do not fit", "routing kernels refuse a shape without experts to spare"});
  }

  void check_kernels() {
    auto const& r = model_.router();
    int const groups = std::max(1, r.groups);
    bool const suits = every_count(
        [&](int n) { return n % 4 == 0 && n > r.top_k && n <= (groups == 1 ? 512 : 256) && (groups == 1 || n / groups <= 32); });
    add({"a number of experts that routing kernels take", when(suits, serving_verdict::note), counts_text(),
         "FlashInfer's TensorRT-LLM kernels want a multiple of 4, above top-k; its own fused one takes 512, or 256 in groups, "
         "ROCm's 32 a group; other backends do not care",
         "as vLLM where it calls the same kernels", "wants a multiple of 4, above top-k"});
  }

  void check_bias() {
    auto const& rest = model_.family().correction_bias;
    std::vector<std::string> wrong, absent;
    bool any = false;
    for (int const layer : model_.moe_layers()) {
      auto const* const bias = rest.empty() ? nullptr : model_.find(model_.name_in(layer, rest));
      any = any || bias != nullptr;
      if (bias == nullptr) absent.push_back(model_.name_in(layer, rest) + " is missing");
      if (bias != nullptr && bias->type != dtype::f32) wrong.push_back(bias->name + " is " + std::string{name(bias->type)});
    }
    if (!any) return;
    add({"the router's correction bias, in F32, in every layer",
         absent.empty() ? when(wrong.empty(), serving_verdict::note) : serving_verdict::bad,
         first_of(absent.empty() ? wrong : absent, "all are"),
         "one that is missing stays uninitialised; it is kept in F32, and of fewer bits, close values choose other experts",
         "likewise", "likewise"});
  }

  void check_ranks() {
    std::vector<std::string> ranks;
    for (int r = 2; r <= 16; ++r) {
      if (every_count([&](int n) { return n % r == 0; })) ranks.push_back(std::to_string(r));
    }
    add({"experts split evenly over ranks", when(every_count([](int n) { return n % 8 == 0; }), serving_verdict::note),
         "over " + (ranks.empty() ? "no number of" : joined(ranks)) + " ranks",
         "a remainder goes to the first ranks; load balancing (EPLB) stops with a failed check", "wants an even split",
         "wants an even split"});
  }

  void check_local_experts() {
    std::vector<std::string> ranks;
    for (int const r : {1, 2, 4, 8, 16, 32}) {
      if (every_count([&](int n) { return n % r == 0 && n / r % 16 == 0; })) ranks.push_back(std::to_string(r));
    }
    add({"experts of a rank in multiples of 16", when(!ranks.empty(), serving_verdict::note),
         ranks.empty() ? counts_text() + " on no number of ranks" : "on " + joined(ranks) + " rank(s)", "does not care",
         "versions without its fix #29055 mishandle other numbers where it uses CUTLASS for NVFP4", "does not care"});
  }

  checkpoint const& model_;
  expert_storage_table const& table_;
  std::vector<serving_check> out_;
};

}  // namespace detail
CULL_NAMESPACE_END
