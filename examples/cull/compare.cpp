// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct compare_options {
  std::string first, second, observation;
};

/// Experts that only one plan keeps, with what they do where that is known.
json named(std::vector<int> const& ids, int layer, std::optional<cull::default_observation> const& seen) {
  json out = json::array();
  for (int const id : ids) {
    json expert{{"expert", id}};
    if (seen) {
      expert["tokens"] = seen->sums(layer, id).count();
      for (auto const& role : cull::roles(*seen, layer, id))
        expert["serves"][role.domain] = {{"share", role.share}, {"part", role.part}};
    }
    out.push_back(expert);
  }
  return out;
}

std::string spoken(json const& experts) {
  std::string out;
  for (auto const& expert : experts) {
    out += (out.empty() ? "" : ", ") + std::to_string(expert.at("expert").get<int>());
    if (!expert.contains("serves")) continue;
    auto const first = expert.at("serves").begin();
    if (first.value().at("part").get<double>() > 0)
      out += " (" + first.key() + " " + fixed(100 * first.value().at("part").get<double>(), 0) + " %)";
  }
  return out.empty() ? "-" : out;
}

/// What a file tells of the model it was made for must agree with the plan's; plans made by hand tell nothing.
void check_model(std::string const& digest, cull::pruning_plan const& plan, std::string const& file) {
  if (digest.empty() || plan.model_digest.empty() || digest == plan.model_digest) return;
  throw cull::error{cull::errc::mismatched_states, "belongs to another model than the plan it is compared with", {.file = file}};
}

void compare(compare_options const& o, console const& out) {
  auto const first = cull::load_plan(o.first), second = cull::load_plan(o.second);
  check_model(second.model_digest, first, o.second);
  std::optional<cull::default_observation> seen;
  if (!o.observation.empty()) {
    seen = cull::load_observation(o.observation);
    check_model(seen->provenance().model_digest, first, o.observation);
    check_model(seen->provenance().model_digest, second, o.observation);
  }
  json layers = json::array();
  double sum = 0;
  std::size_t different = 0;
  for (auto const& [layer, kept] : first.layers) {
    auto const other = second.layers.find(layer);
    if (other == second.layers.end()) continue;
    auto const difference = cull::compare(kept, other->second);
    auto const only_first = named(difference.only_first, layer, seen), only_second = named(difference.only_second, layer, seen);
    layers.push_back({{"layer", layer},
                      {"both", difference.both},
                      {"only_first", only_first},
                      {"only_second", only_second},
                      {"jaccard", difference.jaccard}});
    sum += difference.jaccard;
    different += difference.only_first.size() + difference.only_second.size();
    out.say("layer " + right(std::to_string(layer), 3) + "  Jaccard " + fixed(difference.jaccard, 3) +
            "  only the first: " + spoken(only_first) + "  only the second: " + spoken(only_second));
  }
  if (layers.empty()) throw cull::error{cull::errc::mismatched_states, "the plans have no layer in common", {.file = o.second}};
  double const mean = sum / static_cast<double>(layers.size());
  out.say("mean Jaccard " + fixed(mean, 3) + ", " + std::to_string(different) + " experts in one plan only");
  out.result({{"first", o.first}, {"second", o.second}, {"mean_jaccard", mean}, {"different", different}, {"layers", layers}});
}

}  // namespace

void add_compare(CLI::App& app, console& out, action& run) {
  auto* const verb =
      add_verb(app, out, "compare", "Which experts one plan keeps and another does not, and what they are good for",
               "cull compare code.plan.json term.plan.json --observation by-domain.obs.safetensors");
  auto const o = std::make_shared<compare_options>();
  verb->add_option("FIRST", o->first, "plan file")->required();
  verb->add_option("SECOND", o->second, "plan file")->required();
  verb->add_option("--observation", o->observation,
                   "observation with domains (calibrate --by-domain): names what each expert serves");
  verb->callback([=, &out, &run] { run = [=, &out] { compare(*o, out); }; });
}

}  // namespace program
