// SPDX-License-Identifier: Apache-2.0
#include "kit.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <report/gather.hpp>
#include <report/html.hpp>
#include <report/ledger.hpp>
#include <report/measure_names.hpp>
#include <report/page.hpp>

#include "kit_templates.hpp"
#include "template.hpp"

namespace kit {
namespace {

namespace fs = std::filesystem;
using values = std::map<std::string, std::string>;

std::string own_name(fs::path const& dir) {
  auto const whole = fs::absolute(dir).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

std::string exact_size(std::uint64_t bytes) {
  return report::grouped(static_cast<std::int64_t>(bytes)) + " bytes (" + report::bytes(bytes) + ")";
}

/// For names of containers: lower case, nothing special.
std::string container_name(std::string name) {
  for (auto& c : name)
    c = std::isalnum(static_cast<unsigned char>(c)) ? static_cast<char>(std::tolower(static_cast<unsigned char>(c))) : '-';
  return name.empty() || name.front() == '-' ? "model" + name : name;
}

bool is_glm(cull::checkpoint const& model) { return model.family().name.starts_with("glm"); }
bool is_glm_dsa(nlohmann::json const& config) { return config.value("model_type", std::string{}) == "glm_moe_dsa"; }

/// Which layers choose tokens themselves (F) and which share a choice (S), from the config's own list.
std::string index_cache(nlohmann::json const& config) {
  std::string out;
  if (!config.contains("indexer_types") || !config.at("indexer_types").is_array()) return out;
  for (auto const& kind : config.at("indexer_types")) out += kind == "shared" ? 'S' : 'F';
  return out.find('S') == out.npos ? std::string{} : out;
}

void add_serving(request const& from, nlohmann::json const& config, values& to) {
  bool const has_mtp = !from.model.mtp_layers().empty() && from.plan.mtp.what != cull::mtp_policy::kind::drop;
  to["mtp"] = has_mtp ? "5" : "0";
  to["mtp_text"] = !has_mtp ? "there is none, so no speculative decoding"
                   : from.plan.mtp.what == cull::mtp_policy::kind::own
                       ? "the layer is here, pruned by its own scores to the same number of experts"
                       : "the layer is here, pruned by the keep-set of layer " + std::to_string(from.plan.mtp.layer);
  to["index_cache"] = index_cache(config);
  to["tool_parser"] = is_glm(from.model) ? "glm47" : "";
  to["reasoning_parser"] = is_glm(from.model) ? "glm45" : "";
  to["effort"] =
      is_glm_dsa(config)
          ? "The base's chat template takes two levels, `high` and `max` (the default); others fall back to one of them, and "
            "thinking can be "
            "switched off. Pass them as `chat_template_kwargs` of a request: `{\"reasoning_effort\": \"high\"}`, "
            "`{\"enable_thinking\": "
            "false}`. Pruned models lose most on the longest thoughts: prefer `high`, and give `max` room in `max_tokens`."
          : "As the base's chat template has it; pass its switches as `chat_template_kwargs` of a request.";
}

/// Of all files that are not added, under whatever name; those of the source that others stand for are kept beside them.
std::uint64_t bytes_of_model(fs::path const& dir) {
  auto const manifest = cull::detail::read_manifest(dir);
  auto const added = cull::detail::added_names(manifest);
  std::uint64_t out = 0;
  for (auto const& file : cull::detail::files_of(manifest)) {
    bool const is_added = std::find(added.begin(), added.end(), file.name) != added.end();
    if (!is_added || !cull::detail::original_name(file.name).empty()) out += file.bytes;
  }
  return out;
}

/// Under which names the source's own files are kept, by those that others have now.
std::map<std::string, std::string> kept_files(fs::path const& dir) {
  std::map<std::string, std::string> out;
  for (auto const& name : cull::detail::added_names(cull::detail::read_manifest(dir))) {
    if (auto const original = cull::detail::original_name(name); !original.empty()) out[original] = name;
  }
  return out;
}

void add_sizes(request const& from, values& to) {
  auto const kept = cull::keep_sets(from.model, from.plan);
  auto const written = cull::open_written(from.model, from.dir);
  std::vector<int> before, after;
  for (auto const& [layer, ids] : kept) {
    before.push_back(from.model.experts(layer));
    after.push_back(static_cast<int>(ids.size()));
  }
  to["before"] = report::range_text(before);
  to["kept"] = report::range_text(after);
  to["top_k"] = std::to_string(from.model.router().top_k);
  to["layers_before"] = std::to_string(from.model.moe_layers().size());
  to["layers"] = std::to_string(kept.size());
  to["bytes_before"] = exact_size(from.model.ledger().bytes);
  to["bytes_predicted"] = exact_size(cull::predict(from.model, from.plan).bytes);
  to["bytes_actual"] = exact_size(written.ledger().bytes);
  to["bytes_files"] = exact_size(bytes_of_model(from.dir));
}

/// For a model whose layers keep different numbers of experts.
void add_uneven(request const& from, values& to) {
  auto const kept = cull::keep_sets(from.model, from.plan);
  auto const same = [&](auto const& l) { return l.second.size() == kept.begin()->second.size(); };
  to["uneven_counts"] = to["uneven_limit"] = "";
  if (std::all_of(kept.begin(), kept.end(), same)) return;
  std::string heads = "| layer |", line = "|---|", counts = "| experts |";
  std::size_t total = 0;
  for (auto const& [layer, ids] : kept) {
    heads += " " + std::to_string(layer) + " |";
    line += "---|";
    counts += " " + std::to_string(ids.size()) + " |";
    total += ids.size();
  }
  auto const& key = from.model.family().per_layer_key;
  to["uneven_counts"] = "\nThe layers keep different numbers, " +
                        report::fixed(static_cast<double>(total) / static_cast<double>(kept.size()), 1) + " on average:\n\n" +
                        heads + "\n" + line + "\n" + counts + "\n";
  to["uneven_limit"] = "**Only engines that read `" + key +
                       "` of `config.json` can load this model**: stock vLLM and SGLang build every layer with one number of "
                       "experts. The compose file needs an image whose vLLM reads it: set `VLLM_IMAGE`.\n\n";
}

std::string method_of(std::string const& criterion) {
  if (criterion == "reap")
    return "REAP (Lasby et al. 2025): an expert's score is the mean, over the tokens that the model's own router sends to it, of "
           "its gate times the "
           "norm of its output. The best of every layer stay. No overlay protects experts by frequency.";
  if (criterion == "easy_ep")
    return "EASY-EP (Dong et al. 2025): an expert's score is the sum, over the tokens that the model's own router sends to it, "
           "of its "
           "gate times the norm of its output, each times how far the layer's routed output turns that token's residual. The "
           "best of "
           "every layer stay.";
  if (criterion == "leave_one_out")
    return "Leave one out: an expert's score is the sum, over the tokens that the model's own router sends to it, of the squared "
           "change of the layer's routed output when it alone is gone and the router chooses among the others. The best of every "
           "layer stay.";
  if (criterion.empty()) return "The keep-sets were made elsewhere; cull applied them.";
  if (criterion == "random") return "Experts were drawn at random: a baseline to compare with, not a model to use.";
  return "The experts of every layer with the highest `" + criterion + "` stay.";
}

std::string calibration_of(report::figures const& figures) {
  std::string rows;
  for (auto const& f : figures.files) {
    if (f.kind == "observation") rows += "| `" + f.path + "` | `" + f.digest + "` |\n";
  }
  if (rows.empty()) return "No observation was given to the kit; the plan names its criterion only.";
  std::string facts;
  for (auto const& [name, text] : figures.facts) {
    if (name.starts_with("calibration ")) facts += "- " + name.substr(12) + ": " + text + "\n";
  }
  return facts +
         "\nThe observations, which hold a 128-bit digest of every sequence read, so that anyone with the texts can tell whether "
         "these were "
         "they:\n\n| observation | XXH128 |\n|---|---|\n" +
         rows;
}

/// A row of the card's table: one figure of every model.
struct quality_row {
  std::string name;
  bool share;
  std::vector<std::optional<report::rate>> values;
};

/// Every figure that any model has; the first has no distance from itself.
std::vector<quality_row> quality_rows(report::figures const& figures) {
  std::vector<quality_row> out;
  auto const put = [&](std::string const& name, std::string const& measure, std::size_t model, report::rate const& value) {
    auto row = std::find_if(out.begin(), out.end(), [&](auto const& r) { return r.name == name; });
    if (row == out.end()) {
      auto const models = figures.models.size();
      row = out.insert(out.end(), {name, report::is_share(measure), std::vector<std::optional<report::rate>>(models)});
    }
    row->values[model] = value;
  };
  for (std::size_t m = 0; m < figures.models.size(); ++m) {
    for (auto const& [measure, group] : figures.models[m].groups) {
      if (measure.ends_with("_by_position")) continue;  // the report has them
      for (auto const& [name, value] : group) put(report::measure_name(measure) + ", " + name, measure, m, value);
    }
    for (auto const& [measure, value] : figures.models[m].rates) put(report::measure_name(measure), measure, m, value);
  }
  return out;
}

std::string quality_of(report::figures const& figures) {
  if (figures.models.empty()) return "Not measured yet: give the kit what `cull eval --json` prints.";
  std::string out = "| |", line = "|---|";
  for (auto const& m : figures.models) {
    out += " " + m.name + " |";
    line += "---|";
  }
  out += "\n" + line + "\n";
  for (auto const& row : quality_rows(figures)) {
    auto const one = [&](double v) { return row.share ? report::percent(v, 2) : report::fixed(v, 4); };
    out += "| " + row.name + " |";
    for (auto const& v : row.values) {
      if (!v) out += " – |";
      if (v) out += " " + one(v->value) + (v->low && v->high ? " (" + one(*v->low) + " to " + one(*v->high) + ")" : "") + " |";
    }
    out += "\n";
  }
  return out +
         "\nOn held-out texts and prompts; in brackets 95 % intervals. `nats per token` and the divergence: lower is better. "
         "Shares of "
         "prompts are of all prompts.";
}

/// "Half of the layers would be settled with 120 sequences more. ", where a number would do it.
std::string settling_of(report::figures const& figures) {
  std::vector<double> more;
  for (auto const& l : figures.layers) {
    if (l.cut && l.to_settle) more.push_back(*l.to_settle);
  }
  if (more.empty()) return {};
  std::sort(more.begin(), more.end());
  double const middle = more[(more.size() - 1) / 2];
  if (!std::isfinite(middle)) return {};
  return "The cuts of half of the layers would be settled with " + report::grouped(static_cast<std::int64_t>(middle)) +
         " sequences more like these. ";
}

std::string doubt_of(report::figures const& figures, std::string const& planned_by) {
  if (!figures.has_observation || figures.criterion != planned_by) return "How sure they are is not known here.";
  if (!figures.has_errors) return "A greatest norm has no standard error, so how sure the choice is cannot be said.";
  std::int64_t close = 0, starving = 0, experts = 0;
  for (auto const& layer : figures.layers) {
    for (auto const& x : layer.experts) {
      ++experts;
      close += x.close ? 1 : 0;
      starving += x.starving ? 1 : 0;
    }
  }
  return "Of " + report::grouped(experts) + " experts, " + report::grouped(close) +
         " lie within 1.96 standard errors of their layer's cut: another set of the "
         "same size could have chosen otherwise. " +
         settling_of(figures) + report::grouped(starving) + " had fewer than 32 tokens.";
}

std::string name_of(request const& from) { return from.name.empty() ? own_name(from.dir) : from.name; }

report::request page_request(request const& from) {
  report::request out{.files = from.evidence, .title = name_of(from), .command = from.command};
  out.files.push_back(from.dir / cull::plan_file_name);
  return out;
}

std::vector<std::string> names_of(bool set_sampling) {
  std::vector<std::string> out{"README.md", "docker-compose.yml", "cull-report.html"};
  if (set_sampling) out.push_back(cull::generation_config_name);
  return out;
}

}  // namespace

std::vector<std::string> check(request const& from, fs::path const& plan_file) {
  if (!from.evidence.empty()) {
    report::request page{.files = from.evidence, .title = from.name};
    page.files.push_back(plan_file);
    report::gather(page, from.model);
  }
  auto const generation = with_sampling(from.model.dir(), {});
  return names_of(!from.keep_sampling && generation.changed);
}

contents make(request const& from) {
  if (!fs::is_regular_file(from.dir / cull::manifest_file_name)) {
    throw cull::error{cull::errc::not_found,
                      "holds no cull-manifest.json; it is not a complete checkpoint that apply wrote",
                      {.file = from.dir.string()}};
  }
  contents out;
  auto const figures = report::gather(page_request(from), from.model);
  auto const config = nlohmann::json::parse(from.model.config().text());
  sampling_defaults const sampling;
  auto const generation = with_sampling(from.model.dir(), sampling);
  auto const kept = kept_files(from.dir);
  auto const kept_name = [&](std::string const& name) { return kept.contains(name) ? kept.at(name) : name; };
  bool const set_sampling = !from.keep_sampling && generation.changed;
  values v{{"name", name_of(from)}, {"base", own_name(from.model.dir())}, {"container", container_name(name_of(from))}};
  add_sizes(from, v);
  add_uneven(from, v);
  add_serving(from, config, v);
  v["license_line"] = "";
  bool const nvfp4 = from.model.config().text().find("NVFP4") != std::string::npos;
  v["format_tags"] = nvfp4 ? "- nvfp4\n" : "";
  v["format_limit"] = nvfp4 ? "- Weights are 4-bit; engines that quantise activations too compute something slightly else than "
                              "what was measured here.\n"
                            : "";
  v["method"] = method_of(from.plan.criterion);
  v["calibration"] = calibration_of(figures);
  v["quality"] = quality_of(figures);
  v["doubt"] = doubt_of(figures, from.plan.criterion);
  v["report_line"] = "`cull-report.html` shows every layer's scores, what was dropped, and how sure the choice is.";
  v["temperature"] = report::significant(sampling.temperature);
  v["top_p"] = report::significant(sampling.top_p);
  v["repetition_penalty"] = report::fixed(sampling.repetition_penalty, 1);
  std::string note;
  for (auto const& each : generation.notes) note += each + ". ";
  if (from.keep_sampling && !note.empty())
    note = "The base's `generation_config.json` was left as it is, so set these in requests. ";
  else if (!note.empty())
    note = "Set by the kit: " + note + "The base's file is `" + kept_name(cull::generation_config_name) + "`. ";
  v["sampling_note"] = note;
  out.files.push_back({"README.md", filled(templates::README_md, v)});
  out.files.push_back({"docker-compose.yml", filled(templates::docker_compose_yml, v)});
  out.files.push_back({"cull-report.html", report::to_html(figures)});
  if (set_sampling) {
    out.files.push_back({"generation_config.json", generation.text});
    for (auto const& each : generation.notes) out.notes.push_back("generation_config.json: " + each);
  }
  for (auto const& [name, under] : kept) {
    if (name != cull::generation_config_name) out.notes.push_back(name + ": the base's is kept as " + under);
  }
  return out;
}

}  // namespace kit
