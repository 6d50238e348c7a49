// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

std::string range(std::vector<int> const& numbers) {
  if (numbers.empty()) return "none";
  bool const dense = numbers.back() - numbers.front() + 1 == static_cast<int>(numbers.size());
  if (numbers.size() > 1 && dense) return std::to_string(numbers.front()) + "-" + std::to_string(numbers.back());
  std::string out;
  for (int const n : numbers) out += (out.empty() ? "" : ", ") + std::to_string(n);
  return out;
}

/// How a tensor of weights is stored, told from headers; empty for scales and vectors.
std::string storage(cull::checkpoint const& model, cull::tensor_info const& t) {
  auto const beside = [&](char const* suffix) { return model.find(t.name + suffix) != nullptr; };
  auto const is = [&](char const* end) { return t.name.ends_with(end); };
  if (is("_packed")) return "packed (compressed-tensors)";
  if (is("_blocks")) return "MXFP4";
  if (t.shape.size() < 2 || is("_scale") || is("_scales") || is("_scale_inv") || is("bias")) return {};
  if (beside("_scale_2")) return "NVFP4 (modelopt)";
  if (beside("_scale_inv")) return "FP8 128x128";
  if (beside("_scale")) return std::string{cull::name(t.type)} + " with scales";
  return std::string{cull::name(t.type)};
}

/// Storage of the weights by role.
std::map<std::string, std::map<std::string, std::int64_t>> formats(cull::checkpoint const& model) {
  std::map<std::string, std::map<std::string, std::int64_t>> out;
  for (auto const& t : model.tensors()) {
    auto const how = storage(model, t);
    if (!how.empty()) ++out[std::string{cull::role_of(model.family(), model.place_of(t.name), t.name)}][how];
  }
  return out;
}

json to_json(cull::ledger const& ledger) {
  json rows = json::array();
  for (auto const& r : ledger.rows) rows.push_back({{"role", r.role}, {"tensors", r.tensors}, {"bytes", r.bytes}});
  return {{"tensors", ledger.tensors}, {"bytes", ledger.bytes}, {"rows", rows}};
}

json router_json(cull::router_settings const& r) {
  return {{"scoring", r.scoring == cull::scoring::sigmoid ? "sigmoid" : "softmax"},
          {"top_k", r.top_k},
          {"groups", r.groups},
          {"top_groups", r.top_groups},
          {"renormalize", r.renormalize == cull::renormalization::on},
          {"scaling", r.scaling}};
}

std::string experts_a_layer(cull::checkpoint const& model) {
  int least = model.experts(), most = least;
  for (int const layer : model.moe_layers()) {
    least = std::min(least, model.experts(layer));
    most = std::max(most, model.experts(layer));
  }
  return (least < most ? std::to_string(least) + " to " : "") + std::to_string(most);
}

void print(cull::checkpoint const& model, std::vector<std::string> const& warnings, console const& out) {
  auto const& r = model.router();
  auto const ledger = model.ledger();
  auto const kinds = formats(model);
  out.say("family         " + std::string{model.family().name});
  out.say("MoE layers     " + range(model.moe_layers()) + " (MTP: " + range(model.mtp_layers()) + ")");
  out.say("experts        " + experts_a_layer(model) + " a layer, " + std::to_string(r.top_k) + " chosen per token");
  out.say("router         " + std::string{r.scoring == cull::scoring::sigmoid ? "sigmoid" : "softmax"} + ", " +
          std::to_string(r.groups) + " group(s)" + (r.renormalize == cull::renormalization::on ? ", renormalised" : "") +
          ", scaled by " + fixed(static_cast<double>(r.scaling), 3));
  out.say("digest         " + model.digest());
  out.say("");
  out.say(left("role", 18) + right("tensors", 10) + right("bytes", 16) + "  weights stored as");
  for (auto const& row : ledger.rows) {
    std::string stored;
    if (auto const found = kinds.find(row.role); found != kinds.end()) {
      for (auto const& [kind, count] : found->second) stored += (stored.empty() ? "" : ", ") + kind;
    }
    out.say(left(row.role, 18) + right(std::to_string(row.tensors), 10) + right(std::to_string(row.bytes), 16) + "  " + stored);
  }
  out.say(left("all", 18) + right(std::to_string(ledger.tensors), 10) + right(std::to_string(ledger.bytes), 16));
  // A model of holes has one for each of its scales.
  constexpr std::size_t shown = 20;
  for (std::size_t i = 0; i < std::min(warnings.size(), shown); ++i) out.say("warning: " + warnings[i]);
  if (warnings.size() > shown)
    out.say("warning: " + std::to_string(warnings.size() - shown) + " more like these; --json has all of them");
}

struct source {
  std::string model;
  model_choice choice;
};

void inspect(source const& from, console const& out) {
  auto const model = open_model(from.model, from.choice);
  auto const warnings = cull::audit(model);
  print(model, warnings, out);
  json stored;
  for (auto const& [role, kinds] : formats(model)) stored[role] = kinds;
  out.result({{"family", model.family().name},
              {"moe_layers", model.moe_layers()},
              {"mtp_layers", model.mtp_layers()},
              {"experts", model.experts()},
              {"router", router_json(model.router())},
              {"digest", model.digest()},
              {"formats", stored},
              {"ledger", to_json(model.ledger())},
              {"warnings", warnings}});
}

}  // namespace

void add_inspect(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "inspect", "Show family, layers, experts, router, formats and bytes by role",
                              "cull inspect GLM-5.2-NVFP4");
  auto const from = std::make_shared<source>();
  verb->add_option("MODEL", from->model, "directory of the model")->required();
  add_model_options(*verb, from->choice);
  verb->callback([=, &out, &run] { run = [=, &out] { inspect(*from, out); }; });
}

}  // namespace program
