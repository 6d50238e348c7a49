// SPDX-License-Identifier: Apache-2.0
#include "gather.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "evaluations.hpp"
#include "html.hpp"
#include "ledger.hpp"
#include "observed.hpp"

namespace report {
namespace {

namespace fs = std::filesystem;
using planned = std::pair<std::string, cull::pruning_plan>;

/// What the files hold.
struct contents {
  std::vector<observed> observations;
  std::vector<planned> plans;
  std::optional<cull::checkpoint> model;
};

/// term.obs.safetensors as "term".
std::string label_of(fs::path const& path) {
  auto name = path.filename().string();
  for (auto const* suffix : {".safetensors", ".json", ".obs", ".plan"}) {
    if (name.ends_with(suffix) && name.size() > std::string_view{suffix}.size())
      name.resize(name.size() - std::string_view{suffix}.size());
  }
  return name;
}

/// Its own name only: where it lies is nobody's business.
std::string name_of_directory(fs::path const& path) {
  auto const whole = fs::absolute(path).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

void read_json(fs::path const& path, std::string const& text, contents& in, figures& out, std::string& kind) {
  cull::detail::parse_json(text, path.string());  // says what is wrong with it, and where
  auto const root = json::parse(text);
  if (root.is_object() && root.contains("layers") && root.at("layers").is_object()) {
    kind = "plan";
    in.plans.emplace_back(label_of(path), cull::parse_plan(text, path.string()));
  } else if (root.is_object() && root.contains("verified")) {
    kind = "verification";
    out.checks.push_back(verification_of(root));
  } else if (auto models = evaluations_of(root, label_of(path)); !models.empty()) {
    kind = "evaluation";
    for (auto& m : models) out.models.push_back(std::move(m));
  } else {
    throw cull::error{cull::errc::json_syntax,
                      "is no plan, and not what eval or verify print with --json; give observations, plans and those",
                      {.file = path.string()}};
  }
}

void read_file(fs::path const& path, contents& in, figures& out) {
  if (fs::is_directory(path)) {
    throw cull::error{cull::errc::not_found, "is a directory; a model is given with --model", {.file = path.string()}};
  }
  // A stream, since what a shell substitutes for a command is a pipe.
  std::ifstream stream{path, std::ios::binary};
  std::string const text{std::istreambuf_iterator<char>{stream}, {}};
  if (text.empty()) throw cull::error{cull::errc::not_found, "cannot be read or is empty", {.file = path.string()}};
  std::string kind = "observation";
  if (text.front() == '{' || text.front() == '[') {
    read_json(path, text, in, out, kind);
  } else {
    in.observations.push_back(observed::load(path.string(), label_of(path)));
  }
  out.files.push_back({kind, path.filename().string(), cull::detail::hex_digest(std::as_bytes(std::span{text}))});
}

/// All that belongs to one model.
void check_digests(contents const& in, figures& out) {
  auto const expect = [&](std::string const& digest, std::string const& what) {
    if (digest.empty()) return;
    if (out.model_digest.empty()) out.model_digest = digest;
    if (out.model_digest != digest) {
      throw cull::error{cull::errc::mismatched_states,
                        what + " belongs to another model than what came before it; a page is about one model"};
    }
  };
  if (in.model) expect(in.model->digest(), "the model");
  for (auto const& seen : in.observations) expect(seen.provenance().model_digest, "observation " + seen.name());
  for (auto const& [name, plan] : in.plans) expect(plan.model_digest, "plan " + name);
}

/// Sets what a keep-set drops, and what the observation says about its cut.
void set_cut(layer_figures& layer, cull::layer_selection const& cut, cull::cut_uncertainty const& doubt) {
  layer.kept = static_cast<std::int64_t>(cut.kept.size());
  double mass = 0, traffic = 0;
  for (std::size_t e = 0; e < layer.experts.size(); ++e) {
    auto& x = layer.experts[e];
    auto const among = [e](std::vector<int> const& ids) {
      return std::binary_search(ids.begin(), ids.end(), static_cast<int>(e));
    };
    x.kept = among(cut.kept);
    x.close = among(doubt.unsettled);
    mass += x.mass;
    traffic += x.traffic;
    if (x.kept) continue;
    layer.mass_dropped += x.mass;
    layer.traffic_dropped += x.traffic;
  }
  layer.mass_dropped = mass > 0 ? layer.mass_dropped / mass : 0;
  layer.traffic_dropped = traffic > 0 ? layer.traffic_dropped / traffic : 0;
  layer.close = std::ssize(doubt.unsettled);
  if (!std::isfinite(cut.margin)) return;
  layer.cut = cut.cut_low + (cut.cut_high - cut.cut_low) / 2;
  layer.margin = cut.margin;
  layer.to_settle = doubt.sequences_to_settle;
}

/// Builds the figures from what was read.
class builder {
 public:
  builder(request const& from, contents const& in, figures& out) : from_(from), in_(in), out_(out) {
    out_.has_plan = !in.plans.empty() || (from.keep && !in.observations.empty());
    out_.has_observation = !in.observations.empty();
    choose_criterion();
    groups_ = in.model ? std::max(1, in.model->router().groups) : 1;
  }

  void build() {
    if (out_.has_observation)
      add_observed_layers();
    else if (!in_.plans.empty())
      add_planned_layers();
    add_overlaps();
    add_facts();
    if (in_.model) {
      auto const* const plan = in_.plans.empty() ? nullptr : &in_.plans[0].second;
      out_.ledger = ledger_of(*in_.model, plan);
      for (auto& check : serving_checks(*in_.model, plan)) out_.checks.push_back(std::move(check));
    }
  }

 private:
  /// The one that was asked for, or the plan's where every observation has it, or REAP.
  void choose_criterion() {
    auto const planned_by = in_.plans.empty() ? std::string{} : in_.plans[0].second.criterion;
    auto const lacking = [&](std::string const& name) {
      return std::find_if(in_.observations.begin(), in_.observations.end(), [&](auto const& seen) { return !seen.has(name); });
    };
    out_.criterion = !from_.criterion.empty() ? from_.criterion : is_known(planned_by) ? planned_by : "reap";
    if (auto const lack = lacking(out_.criterion); lack != in_.observations.end()) {
      if (!from_.criterion.empty()) {
        throw cull::error{cull::errc::mismatched_states, "observation " + lack->name() + " has no sums for criterion '" +
                                                             out_.criterion +
                                                             "'; calibrate with what it needs (see 'cull calibrate --help')"};
      }
      out_.criterion = "reap";
    }
    if (!planned_by.empty() && planned_by != out_.criterion) drawn_by_ = planned_by;
    out_.has_errors = static_cast<bool>(cull::criterion_error_by_name<cull::block_sums>(out_.criterion));
  }
  static bool is_known(std::string const& criterion) {
    auto const among = [&](auto const& names) { return std::find(names.begin(), names.end(), criterion) != names.end(); };
    return among(cull::criteria::names) || among(cull::criteria::block_names);
  }
  /// How many experts of a layer the page keeps; 0: it has no cut.
  int keep_count(int layer) const {
    auto const* const planned = planned_set(layer);
    if (planned != nullptr) return static_cast<int>(planned->size());
    return in_.plans.empty() ? from_.keep.value_or(0) : 0;
  }
  bool is_uneven() const {
    if (in_.plans.empty()) return false;
    auto const& layers = in_.plans[0].second.layers;
    return std::any_of(layers.begin(), layers.end(),
                       [&](auto const& l) { return l.second.size() != layers.begin()->second.size(); });
  }
  std::vector<int> const* planned_set(int layer) const {
    if (in_.plans.empty()) return nullptr;
    auto const& plan = in_.plans[0].second;
    bool const copied = plan.mtp.what == cull::mtp_policy::kind::copy && !plan.layers.contains(layer);
    auto const found = plan.layers.find(copied ? plan.mtp.layer : layer);
    return found == plan.layers.end() ? nullptr : &found->second;
  }
  bool is_mtp(int layer) const {
    if (!in_.model) return false;
    auto const mtp = in_.model->mtp_layers();
    return std::find(mtp.begin(), mtp.end(), layer) != mtp.end();
  }

  void add_observed_layers() {
    auto const& seen = in_.observations[0];
    for (int const layer : seen.layers()) {
      layer_figures figures{.layer = layer, .is_mtp = is_mtp(layer), .experts = seen.figures_of(layer, out_.criterion)};
      figures.experts_before = figures.kept = seen.experts(layer);
      auto cut = cull::cut_of(seen.scores(layer, out_.criterion), {}, groups_);
      if (auto const* const kept = planned_set(layer)) {
        cut = cull::cut_of(cut.scores, *kept, groups_, rescued(layer));
      } else if (keep_count(layer) > 0) {
        cut = cull::select_layer(cut.scores, {keep_count(layer), groups_});
      }
      cut.layer = layer;
      auto const doubt = seen.doubt(cut, out_.criterion);
      for (int const e : doubt.starving) figures.experts[static_cast<std::size_t>(e)].starving = true;
      figures.starving = std::ssize(doubt.starving);
      if (!cut.kept.empty()) set_cut(figures, cut, doubt);
      out_.layers.push_back(std::move(figures));
    }
  }
  std::vector<int> rescued(int layer) const {
    auto const& notes = in_.plans[0].second.notes;
    auto const note = notes.find(layer);
    return note == notes.end() ? std::vector<int>{} : note->second.rescued;
  }
  /// What the plan itself notes, where no observation is given.
  void add_planned_layers() {
    for (auto const& [layer, kept] : in_.plans[0].second.layers) {
      layer_figures figures{.layer = layer, .is_mtp = is_mtp(layer)};
      figures.experts_before = in_.model ? in_.model->experts(layer) : 0;
      figures.kept = std::ssize(kept);
      auto const note = in_.plans[0].second.notes.find(layer);
      if (note != in_.plans[0].second.notes.end()) {
        if (std::isfinite(note->second.margin)) figures.margin = note->second.margin;
        figures.to_settle = note->second.sequences_to_settle;
        if (figures.to_settle) figures.close = std::ssize(note->second.unsettled);
        if (figures.to_settle) figures.starving = std::ssize(note->second.starving);
      }
      out_.layers.push_back(std::move(figures));
    }
  }

  /// The keep-sets that an observation, or one domain of it, would give.
  keep_sets selected(std::string name, observed const& seen, std::optional<int> domain = {}) const {
    keep_sets out{std::move(name), {}};
    for (int const layer : seen.layers()) {
      if (keep_count(layer) == 0) continue;
      out.layers[layer] = cull::select_layer(seen.scores(layer, out_.criterion, domain), {keep_count(layer), groups_}).kept;
    }
    return out;
  }
  void add_overlaps() {
    if (in_.plans.size() > 1) {
      overlap plans{"plans", "Plans", "the plans' own keep-sets", {}};
      for (auto const& [name, plan] : in_.plans) plans.sets.push_back({name, plan.layers});
      out_.overlaps.push_back(std::move(plans));
    }
    if (!out_.has_plan || in_.observations.empty()) return;
    auto const how = is_uneven() ? "as many experts of every layer as the plan keeps, the best by " + out_.criterion
                                 : "the best " + std::to_string(keep_count(in_.observations[0].layers().front())) +
                                       " of every layer by " + out_.criterion;
    if (in_.observations.size() > 1) {
      overlap calibrations{"calibrations", "Calibrations", how, {}};
      for (auto const& seen : in_.observations) calibrations.sets.push_back(selected(seen.name(), seen));
      out_.overlaps.push_back(std::move(calibrations));
    }
    for (auto const& seen : in_.observations) {
      if (seen.domains().size() < 2) continue;
      overlap domains{"domains-" + std::to_string(out_.overlaps.size()), "Domains of " + seen.name(), how, {}};
      for (std::size_t d = 0; d < seen.domains().size(); ++d) {
        domains.sets.push_back(selected(seen.domains()[d], seen, static_cast<int>(d)));
      }
      out_.overlaps.push_back(std::move(domains));
    }
  }

  void add_facts() {
    auto const fact = [&](std::string name, std::string text) { out_.facts.emplace_back(std::move(name), std::move(text)); };
    fact("criterion", out_.criterion + (drawn_by_.empty() ? "" : "; the plan was made by " + drawn_by_));
    for (auto const& seen : in_.observations) {
      double tokens = 0;
      for (auto const& x : seen.figures_of(seen.layers().front(), "frequency")) tokens += static_cast<double>(x.tokens);
      fact("calibration " + seen.name(),
           count_of(static_cast<std::int64_t>(seen.provenance().sequences.size()), "sequence", "sequences") + ", " +
               grouped(static_cast<std::int64_t>(tokens)) + " pairs of token and expert a layer");
    }
    if (in_.model) fact("model", name_of_directory(in_.model->dir()));
    if (!out_.model_digest.empty()) fact("digest of the model", out_.model_digest);
    for (auto const& [name, plan] : in_.plans) {
      fact("plan " + name,
           (plan.criterion.empty() ? "made elsewhere" : plan.criterion) + ", MTP " + cull::to_text(plan.mtp) + made_from(plan));
    }
  }
  /// By the digests of calibration data, where the plan and this page have any.
  std::string made_from(cull::pruning_plan const& plan) const {
    if (plan.data_digest.empty() || in_.observations.empty()) return {};
    for (auto const& seen : in_.observations) {
      if (cull::data_digest(seen.provenance()) == plan.data_digest) return ", made from observation " + seen.name();
    }
    return ", made from data that no observation on this page has seen";
  }

  request const& from_;
  contents const& in_;
  figures& out_;
  std::string drawn_by_;
  int groups_ = 1;
};

figures gather_with(request const& from, contents in) {
  figures out;
  for (auto const& path : from.files) read_file(path, in, out);
  check_digests(in, out);
  builder{from, in, out}.build();
  out.command = from.command;
  out.version = cull::version_string;
  out.title = !from.title.empty() ? from.title : in.model ? name_of_directory(in.model->dir()) : label_of(from.files.at(0));
  return out;
}

}  // namespace

figures gather(request const& from) {
  contents in;
  if (!from.model.empty()) {
    cull::open_options options;
    if (!from.family.empty()) options.family = cull::load_family(from.family.string());
    in.model = cull::checkpoint::open(from.model, options);
  }
  return gather_with(from, std::move(in));
}

figures gather(request const& from, cull::checkpoint model) {
  contents in;
  in.model = std::move(model);
  return gather_with(from, std::move(in));
}

}  // namespace report
