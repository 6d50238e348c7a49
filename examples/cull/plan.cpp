// SPDX-License-Identifier: Apache-2.0
#include <engine/random.hpp>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct plan_verb_options {
  std::string model, family, observation, criterion = "reap", mtp = "own";
  int keep = 0;
  std::uint64_t seed = 0;
  output_options output;
};

/// A baseline to compare with: every expert of a layer has the same chance.
cull::selection select_at_random(cull::checkpoint const& model, cull::keep budget, std::uint64_t seed) {
  cull::selection out;
  for (int const layer : model.moe_layers()) {
    engine::random_stream random{seed, static_cast<std::uint64_t>(layer)};
    std::vector<double> scores;
    for (int e = 0; e < model.experts(); ++e) scores.push_back(random.uniform());
    out.layers.push_back(cull::select_layer(scores, budget));
    out.layers.back().layer = layer;
  }
  return out;
}

cull::selection select(cull::checkpoint const& model, plan_verb_options const& o) {
  cull::keep const budget{o.keep, std::max(1, model.router().groups)};
  if (o.criterion == "random") return select_at_random(model, budget, o.seed);
  auto const seen = cull::load_observation(o.observation);
  if (seen.provenance().model_digest != model.digest()) {
    throw cull::error{cull::errc::mismatched_states, "was taken on another model; calibrate this one", {.file = o.observation}};
  }
  return cull::select(seen, cull::criterion_by_name(o.criterion), budget);
}

/// What serving engines will say to that number of experts.
std::vector<std::string> serving_notes(cull::checkpoint const& model, plan_verb_options const& o) {
  std::vector<std::string> out;
  if (o.keep % 8 != 0) {
    std::string sizes;
    for (int ranks = 2; ranks <= 8; ++ranks) {
      if (o.keep % ranks == 0) sizes += (sizes.empty() ? "" : ", ") + std::to_string(ranks);
    }
    out.push_back(std::to_string(o.keep) + " is no multiple of 8: expert parallelism splits evenly over " +
                  (sizes.empty() ? "no number of" : sizes) + " ranks");
  }
  if (o.mtp == "drop" && !model.mtp_layers().empty()) out.push_back("without the MTP layer there is no speculative decoding");
  return out;
}

void print_cut(cull::layer_selection const& cut, console const& out) {
  std::string line = "layer " + right(std::to_string(cut.layer), 3) + "  keeps " + std::to_string(cut.kept.size()) + " of " +
                     std::to_string(cut.experts);
  line += "  margin " + (std::isfinite(cut.margin) ? fixed(100 * cut.margin, 3) + " %" : std::string{"-"});
  if (!cut.tied.empty()) line += "  " + std::to_string(cut.tied.size()) + " tied at the cut";
  if (!cut.never_chosen.empty()) line += "  " + std::to_string(cut.never_chosen.size()) + " never chosen";
  out.say(line);
}

void plan(plan_verb_options const& o, console const& out) {
  o.output.check();
  auto const model = open_model(o.model, o.family);
  auto const chosen = select(model, o);
  auto const made = cull::plan(model, chosen, {.criterion = o.criterion, .mtp = cull::parse_mtp_policy(o.mtp)});
  cull::save(made, o.output.path, o.output.policy());
  auto const before = model.ledger().bytes;
  auto const after = cull::predict(model, made).bytes;
  auto const notes = serving_notes(model, o);
  json cuts = json::array();
  for (auto const& cut : chosen.layers) {
    if (made.layers.contains(cut.layer)) print_cut(cut, out);
    cuts.push_back({{"layer", cut.layer}, {"margin", cut.margin}, {"tied", cut.tied}, {"never_chosen", cut.never_chosen}});
  }
  out.say("tensors " + megabytes(before) + " -> " + megabytes(after) + " (" +
          fixed(100.0 * static_cast<double>(after) / static_cast<double>(before), 1) + " %)");
  for (auto const& note : notes) out.say("note: " + note);
  out.say("wrote " + o.output.path);
  out.result({{"criterion", o.criterion},
              {"keep", o.keep},
              {"mtp", o.mtp},
              {"bytes_before", before},
              {"bytes_after", after},
              {"cuts", cuts},
              {"notes", notes},
              {"out", o.output.path}});
}

}  // namespace

void add_plan(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "plan", "Choose the experts to keep in each layer",
                              "cull plan GLM-5.2-NVFP4 term.obs.safetensors --keep 168 --out plan.json");
  auto const o = std::make_shared<plan_verb_options>();
  verb->add_option("MODEL", o->model, "directory of the model")->required();
  verb->add_option("OBS", o->observation, "observation file (not needed for --criterion random)");
  add_family_option(*verb, o->family);
  verb->add_option("--keep", o->keep, "experts to keep in each layer")->required()->check(CLI::Range(1, 65536));
  std::vector<std::string> names{cull::criteria::names.begin(), cull::criteria::names.end()};
  names.push_back("random");
  verb->add_option("--criterion", o->criterion, "what ranks the experts")->check(CLI::IsMember(names))->capture_default_str();
  verb->add_option("--seed", o->seed, "of --criterion random")->capture_default_str();
  verb->add_option("--mtp", o->mtp, "MTP layers: own (by their own scores), drop, or copy:<layer>")->capture_default_str();
  o->output.add_to(*verb, "plan file to write");
  verb->callback([=, &out, &run] {
    if (o->observation.empty() && o->criterion != "random") throw CLI::RequiredError{"OBS"};
    run = [=, &out] { plan(*o, out); };
  });
}

}  // namespace program
