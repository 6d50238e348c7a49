// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include <engine/random.hpp>

#include "budgets.hpp"
#include "observations.hpp"
#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct plan_verb_options {
  std::string model, criterion = "reap", mtp = "own";
  model_choice choice;
  std::vector<std::string> observations;
  std::vector<double> weights;
  budget_options budget;
  int protect_frequent = 0, protect_domains = 0;
  std::int64_t few_tokens = 32;
  std::uint64_t seed = 0;
  output_options output;
};

/// A selection with what is known about it.
struct decision {
  cull::selection chosen;
  std::vector<cull::cut_uncertainty> doubts;  ///< beside chosen.layers; empty where the criterion has no errors
  std::vector<double> traffic_dropped;        ///< likewise
  std::string data_digest;                    ///< of what was observed; empty where nothing was
};

/// All observations as one, each with its weight.
template <class Observation>
Observation combined(cull::checkpoint const& model, plan_verb_options const& o) {
  std::optional<Observation> total;
  for (std::size_t i = 0; i < o.observations.size(); ++i) {
    auto const& file = o.observations[i];
    auto seen = cull::weighted(cull::load_observation<Observation>(file), o.weights.empty() ? 1.0 : o.weights[i]);
    if (seen.provenance().model_digest != model.digest()) {
      throw cull::error{cull::errc::mismatched_states, "was taken on another model; calibrate this one", {.file = file}};
    }
    total = total ? merged(*total, seen, file) : std::move(seen);
  }
  return *std::move(total);
}

template <class Observation>
std::vector<double> traffic_dropped(Observation const& seen, cull::selection const& chosen) {
  std::vector<double> out;
  for (auto const& cut : chosen.layers) {
    std::vector<double> traffic;
    for (int e = 0; e < cut.experts; ++e) traffic.push_back(seen.sums(cut.layer, e).sum(cull::weight));
    out.push_back(cull::dropped_mass(traffic, cut.kept));
  }
  return out;
}

/// Decides by what experts did.
template <class Observation>
class observed_decider {
 public:
  observed_decider(cull::checkpoint const& model, plan_verb_options const& o)
      : options_(o),
        seen_(combined<Observation>(model, o)),
        criterion_(cull::criterion_by_name<typename Observation::sums_type>(o.criterion)),
        scores_(cull::scores_of(seen_, criterion_)) {
    if (o.criterion == "easy_ep" || o.criterion == "leave_one_out") require_measured();
    if (o.protect_frequent > 0) stay_ = cull::protect_frequent(seen_, {o.protect_frequent});
    if (o.protect_domains > 0) stay_ = cull::united(stay_, cull::protect_domains(seen_, criterion_, {o.protect_domains}));
  }

  layer_scores const& scores() const { return scores_; }
  std::string const& settings() const { return seen_.provenance().settings; }
  decision operator()(cull::layer_budget const& budget) const {
    decision out{cull::select(seen_, criterion_, budget, stay_), {}, {}, cull::data_digest(seen_.provenance())};
    out.traffic_dropped = traffic_dropped(seen_, out.chosen);
    auto const error_of = cull::criterion_error_by_name<typename Observation::sums_type>(options_.criterion);
    auto const sequences = static_cast<std::int64_t>(seen_.provenance().sequences.size());
    for (auto const& cut : out.chosen.layers) {
      if (error_of) out.doubts.push_back(cull::uncertainty(seen_, cut, error_of, sequences, {.few_tokens = options_.few_tokens}));
    }
    return out;
  }

 private:
  void require_measured() const {
    for (auto const& [layer, values] : scores_) {
      if (std::accumulate(values.begin(), values.end(), 0.0) > 0) continue;
      throw cull::error{cull::errc::mismatched_states, "layer " + std::to_string(layer) + " has no sums for criterion '" +
                                                           options_.criterion +
                                                           "'; calibrate with what it needs (see 'cull calibrate --help')"};
    }
  }

  plan_verb_options const& options_;
  Observation seen_;
  cull::criterion_on<typename Observation::sums_type> criterion_;
  layer_scores scores_;
  cull::protected_experts stay_;
};

/// A baseline to compare with: every expert of a layer has the same chance.
class random_decider {
 public:
  random_decider(cull::checkpoint const& model, plan_verb_options const& o) {
    for (int const layer : model.moe_layers()) {
      engine::random_stream random{o.seed, static_cast<std::uint64_t>(layer)};
      for (int e = 0; e < model.experts(layer); ++e) scores_[layer].push_back(random.uniform());
    }
  }
  layer_scores const& scores() const { return scores_; }
  std::string settings() const { return {}; }
  decision operator()(cull::layer_budget const& budget) const {
    decision out;
    for (auto const& [layer, count] : budget.counts) {
      out.chosen.layers.push_back(cull::select_layer(scores_.at(layer), {count, budget.groups}));
      out.chosen.layers.back().layer = layer;
    }
    return out;
  }

 private:
  layer_scores scores_;
};

cull::pruning_plan plan_of(cull::checkpoint const& model, decision const& by, plan_verb_options const& o) {
  cull::plan_options const options{.criterion = o.criterion, .mtp = cull::parse_mtp_policy(o.mtp), .data_digest = by.data_digest};
  auto out = cull::plan(model, by.chosen, options);
  for (std::size_t i = 0; i < by.chosen.layers.size(); ++i) {
    auto const& cut = by.chosen.layers[i];
    auto const note = out.notes.find(cut.layer);
    if (note == out.notes.end()) continue;
    note->second.mass_dropped = cull::dropped_mass(cut.scores, cut.kept);
    if (!by.traffic_dropped.empty()) note->second.traffic_dropped = by.traffic_dropped[i];
    if (by.doubts.empty()) continue;
    note->second.unsettled = by.doubts[i].unsettled;
    note->second.starving = by.doubts[i].starving;
    note->second.sequences_to_settle = by.doubts[i].sequences_to_settle;
  }
  return out;
}

void print_cut(cull::layer_selection const& cut, cull::cut_note const& note, console const& out) {
  std::string line = "layer " + right(std::to_string(cut.layer), 3) + "  keeps " + std::to_string(cut.kept.size()) + " of " +
                     std::to_string(cut.experts);
  line += "  margin " + (std::isfinite(cut.margin) ? fixed(100 * cut.margin, 3) + " %" : std::string{"-"});
  line += "  drops " + fixed(100 * note.mass_dropped.value_or(0), 1) + " % of the scores";
  if (note.traffic_dropped) line += ", " + fixed(100 * *note.traffic_dropped, 1) + " % of the traffic";
  if (!cut.tied.empty()) line += "  " + std::to_string(cut.tied.size()) + " tied at the cut";
  if (!note.unsettled.empty()) {
    auto const more = *note.sequences_to_settle;
    line += "  " + std::to_string(note.unsettled.size()) + " within sampling error of the cut (" +
            (std::isfinite(more) ? fixed(more, 0) + " more sequences would settle it)" : std::string{"equal scores})"});
  }
  if (!note.starving.empty()) line += "  " + std::to_string(note.starving.size()) + " starving";
  if (!cut.never_chosen.empty()) line += "  " + std::to_string(cut.never_chosen.size()) + " never chosen";
  if (!cut.rescued.empty()) line += "  " + std::to_string(cut.rescued.size()) + " kept by protection";
  out.say(line);
}

json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json cut_json(decision const& by, std::size_t i, cull::cut_note const& note) {
  auto const& cut = by.chosen.layers[i];
  json out{
      {"layer", cut.layer},       {"experts", cut.experts},           {"keep", cut.kept.size()}, {"margin", number(cut.margin)},
      {"tied", cut.tied},         {"never_chosen", cut.never_chosen}, {"rescued", cut.rescued},  {"unsettled", note.unsettled},
      {"starving", note.starving}};
  out["sequences_to_settle"] = note.sequences_to_settle ? number(*note.sequences_to_settle) : json(nullptr);
  out["mass_dropped"] = cull::dropped_mass(cut.scores, cut.kept);
  out["traffic_dropped"] = by.traffic_dropped.empty() ? json(nullptr) : json(by.traffic_dropped[i]);
  out["scores"] = cut.scores;
  out["errors"] = by.doubts.empty() ? json(nullptr) : json(by.doubts[i].errors);
  return out;
}

void report(cull::checkpoint const& model, decision const& by, cull::pruning_plan const& made, plan_verb_options const& o,
            console const& out) {
  auto const before = model.ledger().bytes;
  auto const after = cull::predict(model, made).bytes;
  auto const written = cull::predict_written(model, made);
  auto const notes = serving_notes(model, made);
  json cuts = json::array();
  for (std::size_t i = 0; i < by.chosen.layers.size(); ++i) {
    auto const& cut = by.chosen.layers[i];
    auto const note = made.notes.find(cut.layer);
    if (note != made.notes.end()) print_cut(cut, note->second, out);
    cuts.push_back(cut_json(by, i, note == made.notes.end() ? cull::cut_note{} : note->second));
  }
  out.say("tensors " + megabytes(before) + " -> " + megabytes(after) + " (" +
          fixed(100.0 * static_cast<double>(after) / static_cast<double>(before), 1) + " %); all files " + megabytes(written));
  for (auto const& note : notes) out.say("note: " + note);
  out.say("wrote " + o.output.path);
  auto const& first = made.layers.begin()->second;
  bool const same =
      std::all_of(made.layers.begin(), made.layers.end(), [&](auto const& l) { return l.second.size() == first.size(); });
  out.result({{"criterion", o.criterion},
              {"data_digest", made.data_digest},
              {"keep", same ? json(first.size()) : json(nullptr)},
              {"budget", o.budget.kind},
              {"mtp", o.mtp},
              {"bytes_before", before},
              {"bytes_after", after},
              {"bytes_written", written},
              {"cuts", cuts},
              {"notes", notes},
              {"out", o.output.path}});
}

/// Says where a sequential observation is used for another cut than its layers were taken behind.
void note_prefix(std::string const& settings, decision const& by, plan_verb_options const& o, console const& out) {
  std::string_view constexpr key = "sequential=";
  auto const at = settings.find(key);
  if (at == std::string::npos || by.chosen.layers.empty()) return;
  auto const taken = settings.substr(at + key.size(), settings.find(';', at) - at - key.size());
  if (taken == o.criterion + ":" + std::to_string(by.chosen.layers.front().kept.size())) return;
  out.note("the observation was taken behind layers pruned by " + taken + ", which is not what is planned");
}

template <class Decider>
void plan_with(Decider const& decide, cull::checkpoint const& model, plan_verb_options const& o, console const& out) {
  auto scores = decide.scores();
  if (cull::parse_mtp_policy(o.mtp).what != cull::mtp_policy::kind::own) {
    for (int const layer : model.mtp_layers()) scores.erase(layer);
  }
  auto const size_of = [&](cull::layer_budget const& budget) {
    return cull::predict_written(model, plan_of(model, decide(budget), o));
  };
  auto const by = decide(resolve(o.budget, model, scores, size_of));
  note_prefix(decide.settings(), by, o, out);
  auto const made = plan_of(model, by, o);
  cull::save(made, o.output.path, o.output.policy());
  report(model, by, made, o, out);
}

void plan(plan_verb_options const& o, console const& out) {
  o.output.check();
  auto const model = open_model(o.model, o.choice);
  if (o.criterion == "random") {
    plan_with(random_decider{model, o}, model, o, out);
  } else if (have_block_measures(o.observations)) {
    plan_with(observed_decider<cull::block_observation>{model, o}, model, o, out);
  } else {
    plan_with(observed_decider<cull::default_observation>{model, o}, model, o, out);
  }
}

void add_options(CLI::App& verb, plan_verb_options& o) {
  verb.add_option("MODEL", o.model, "directory of the model")->required();
  verb.add_option("OBS", o.observations, "observation files, summed (none for --criterion random)");
  add_model_options(verb, o.choice);
  verb.add_option("--weight", o.weights, "weight of each observation, in their order (default: 1 each)")
      ->check(CLI::PositiveNumber);
  o.budget.add_to(verb);
  std::vector<std::string> names{cull::criteria::names.begin(), cull::criteria::names.end()};
  names.insert(names.end(), cull::criteria::block_names.begin(), cull::criteria::block_names.end());
  names.push_back("random");
  verb.add_option("--criterion", o.criterion, "what ranks the experts")->check(CLI::IsMember(names))->capture_default_str();
  verb.add_option("--protect-frequent", o.protect_frequent,
                  "keep the N most often chosen experts of each layer whatever their score")
      ->check(CLI::Range(0, 65536));
  verb.add_option("--protect-domains", o.protect_domains,
                  "keep an expert that is among the best N of any domain (needs calibrate --by-domain)")
      ->check(CLI::Range(0, 65536));
  verb.add_option("--few-tokens", o.few_tokens, "an expert with fewer routed tokens is reported as starving")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb.add_option("--seed", o.seed, "of --criterion random")->capture_default_str();
  verb.add_option("--mtp", o.mtp, "MTP layers: own (by their own scores), drop, or copy:<layer>")->capture_default_str();
  o.output.add_to(verb, "plan file to write");
}

}  // namespace

void add_plan(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "plan", "Choose the experts to keep in each layer",
                              "cull plan GLM-5.2-NVFP4 term.obs.safetensors --keep 168 --out plan.json\n"
                              "  cull plan GLM-5.2-NVFP4 code.obs term.obs --weight 1 --weight 3 --fit-gib 288 --out plan.json");
  auto const o = std::make_shared<plan_verb_options>();
  add_options(*verb, *o);
  verb->callback([=, &out, &run] {
    if (o->observations.empty() && o->criterion != "random") throw CLI::RequiredError{"OBS"};
    if (!o->weights.empty() && o->weights.size() != o->observations.size()) {
      throw CLI::ValidationError{"--weight", "is given once per observation, or not at all"};
    }
    o->budget.check();
    run = [=, &out] { plan(*o, out); };
  });
}

}  // namespace program
