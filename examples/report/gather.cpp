// SPDX-License-Identifier: Apache-2.0
#include "gather.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "evaluations.hpp"
#include "html.hpp"
#include "ledger.hpp"

namespace report {
namespace {

namespace fs = std::filesystem;
using observed = std::pair<std::string, cull::default_observation>;
using planned = std::pair<std::string, cull::pruning_plan>;

/// What the files hold.
struct contents {
  std::vector<observed> observations;
  std::vector<planned> plans;
  std::optional<cull::checkpoint> model;
};

constexpr double two_sided_95 = 1.96;
constexpr std::int64_t few_tokens = 32;

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
  auto const text = cull::detail::slurp(path);
  if (text.empty()) throw cull::error{cull::errc::not_found, "cannot be read or is empty", {.file = path.string()}};
  std::string kind = "observation";
  if (text.front() == '{' || text.front() == '[') {
    read_json(path, text, in, out, kind);
  } else {
    in.observations.emplace_back(label_of(path), cull::load_observation(path));
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
  for (auto const& [name, seen] : in.observations) expect(seen.provenance().model_digest, "observation " + name);
  for (auto const& [name, plan] : in.plans) expect(plan.model_digest, "plan " + name);
}

bool is_known(std::string const& criterion) {
  auto const& names = cull::criteria::names;
  return std::find(names.begin(), names.end(), criterion) != names.end();
}

std::vector<expert_figures> experts_of(cull::default_observation const& seen, int layer, cull::criterion const& score,
                                       cull::criterion_error_on<cull::default_sums> const& error) {
  std::vector<expert_figures> out;
  auto const sequences = static_cast<std::int64_t>(seen.provenance().sequences.size());
  for (int e = 0; e < seen.experts(layer); ++e) {
    auto const sums = seen.sums(layer, e);
    out.push_back({.score = score(sums),
                   .error = error ? error(sums, sequences) : 0.0,
                   .traffic = sums.sum(cull::weight),
                   .mass = sums.sum(cull::gate_norm),
                   .tokens = sums.count()});
    out.back().starving = sums.count() < few_tokens;
  }
  return out;
}

/// Marks what a keep-set drops and what its cut looks like in the scores.
void cut(layer_figures& layer, std::vector<int> const& kept) {
  layer.kept = static_cast<std::int64_t>(kept.size());
  double mass = 0, traffic = 0, high = INFINITY, low = -INFINITY;
  for (std::size_t e = 0; e < layer.experts.size(); ++e) {
    auto& x = layer.experts[e];
    x.kept = std::binary_search(kept.begin(), kept.end(), static_cast<int>(e));
    mass += x.mass;
    traffic += x.traffic;
    if (!x.kept) {
      layer.mass_dropped += x.mass;
      layer.traffic_dropped += x.traffic;
    }
    x.kept ? high = std::min(high, x.score) : low = std::max(low, x.score);
  }
  layer.mass_dropped = mass > 0 ? layer.mass_dropped / mass : 0;
  layer.traffic_dropped = traffic > 0 ? layer.traffic_dropped / traffic : 0;
  if (!std::isfinite(high) || !std::isfinite(low)) return;
  layer.cut = (high + low) / 2;
  layer.margin = high > 0 ? (high - low) / high : 0.0;
  for (auto& x : layer.experts) x.close = x.error > 0 && std::abs(x.score - *layer.cut) <= two_sided_95 * x.error;
}

/// The keep-sets that an observation, or one domain of it, would give.
keep_sets selected(std::string name, cull::default_observation const& seen, cull::criterion const& score, cull::keep budget,
                   std::optional<int> domain = {}) {
  keep_sets out{std::move(name), {}};
  for (int const layer : seen.layers()) {
    std::vector<double> scores;
    for (int e = 0; e < seen.experts(layer); ++e) scores.push_back(score(seen.sums(layer, e, domain)));
    out.layers[layer] = cull::select_layer(scores, budget).kept;
  }
  return out;
}

/// Builds the figures from what was read.
class builder {
 public:
  builder(request const& from, contents const& in, figures& out) : from_(from), in_(in), out_(out) {
    out_.has_plan = !in.plans.empty() || (from.keep && !in.observations.empty());
    out_.has_observation = !in.observations.empty();
    auto const planned_by = in.plans.empty() ? std::string{} : in.plans[0].second.criterion;
    out_.criterion = !from.criterion.empty() ? from.criterion : is_known(planned_by) ? planned_by : "reap";
    if (!planned_by.empty() && planned_by != out_.criterion) drawn_by_ = planned_by;
    score_ = cull::criterion_by_name(out_.criterion);
    error_ = cull::criterion_error_by_name(out_.criterion);
    budget_ = {keep_count(), in.model ? std::max(1, in.model->router().groups) : 1};
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
  int keep_count() const {
    if (!in_.plans.empty() && !in_.plans[0].second.layers.empty())
      return static_cast<int>(in_.plans[0].second.layers.begin()->second.size());
    return from_.keep.value_or(0);
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
    auto const& seen = in_.observations[0].second;
    for (int const layer : seen.layers()) {
      layer_figures figures{.layer = layer, .is_mtp = is_mtp(layer), .experts = experts_of(seen, layer, score_, error_)};
      figures.experts_before = figures.kept = seen.experts(layer);
      if (auto const* const kept = planned_set(layer)) {
        cut(figures, *kept);
      } else if (in_.plans.empty() && from_.keep) {
        std::vector<double> scores;
        for (auto const& x : figures.experts) scores.push_back(x.score);
        cut(figures, cull::select_layer(scores, budget_).kept);
      }
      out_.layers.push_back(std::move(figures));
    }
  }
  void add_planned_layers() {
    for (auto const& [layer, kept] : in_.plans[0].second.layers) {
      layer_figures figures{.layer = layer, .is_mtp = is_mtp(layer)};
      figures.experts_before = in_.model ? in_.model->experts() : 0;
      figures.kept = static_cast<std::int64_t>(kept.size());
      auto const note = in_.plans[0].second.notes.find(layer);
      if (note != in_.plans[0].second.notes.end() && std::isfinite(note->second.margin)) figures.margin = note->second.margin;
      out_.layers.push_back(std::move(figures));
    }
  }

  void add_overlaps() {
    auto const how = "the best " + std::to_string(budget_.count) + " of every layer by " + out_.criterion;
    if (in_.plans.size() > 1) {
      overlap plans{"plans", "Plans", "the plans' own keep-sets", {}};
      for (auto const& [name, plan] : in_.plans) plans.sets.push_back({name, plan.layers});
      out_.overlaps.push_back(std::move(plans));
    }
    if (budget_.count == 0) return;
    if (in_.observations.size() > 1) {
      overlap calibrations{"calibrations", "Calibrations", how, {}};
      for (auto const& [name, seen] : in_.observations) calibrations.sets.push_back(selected(name, seen, score_, budget_));
      out_.overlaps.push_back(std::move(calibrations));
    }
    for (auto const& [name, seen] : in_.observations) {
      if (seen.domains().size() < 2) continue;
      overlap domains{"domains-" + std::to_string(out_.overlaps.size()), "Domains of " + name, how, {}};
      for (int d = 0; d < seen.domain_count(); ++d) {
        domains.sets.push_back(selected(seen.domains()[static_cast<std::size_t>(d)], seen, score_, budget_, d));
      }
      out_.overlaps.push_back(std::move(domains));
    }
  }

  void add_facts() {
    auto const fact = [&](std::string name, std::string text) { out_.facts.emplace_back(std::move(name), std::move(text)); };
    fact("criterion", out_.criterion + (drawn_by_.empty() ? "" : "; the plan was made by " + drawn_by_));
    for (auto const& [name, seen] : in_.observations) {
      double tokens = 0;
      auto const layer = seen.layers().front();
      for (int e = 0; e < seen.experts(layer); ++e) tokens += static_cast<double>(seen.sums(layer, e).count());
      fact("calibration " + name,
           count_of(static_cast<std::int64_t>(seen.provenance().sequences.size()), "sequence", "sequences") + ", " +
               grouped(static_cast<std::int64_t>(tokens)) + " pairs of token and expert a layer");
    }
    if (in_.model) fact("model", name_of_directory(in_.model->dir()));
    if (!out_.model_digest.empty()) fact("digest of the model", out_.model_digest);
    for (auto const& [name, plan] : in_.plans) {
      fact("plan " + name, (plan.criterion.empty() ? "made elsewhere" : plan.criterion) + ", MTP " + cull::to_text(plan.mtp));
    }
  }

  request const& from_;
  contents const& in_;
  figures& out_;
  std::string drawn_by_;
  cull::criterion score_;
  cull::criterion_error_on<cull::default_sums> error_;  // empty: this criterion has none
  cull::keep budget_;
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
