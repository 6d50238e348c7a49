// SPDX-License-Identifier: Apache-2.0
#include "kit.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <report/gather.hpp>
#include <report/html.hpp>
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

void add_sizes(request const& from, values& to) {
  auto const kept = cull::keep_sets(from.model, from.plan);
  auto const written = cull::checkpoint::open(from.dir, {.family = from.model.family()});
  std::uint64_t files = 0;
  for (auto const& entry : fs::recursive_directory_iterator{from.dir}) files += entry.is_regular_file() ? entry.file_size() : 0;
  to["before"] = std::to_string(from.model.experts());
  to["kept"] = std::to_string(kept.begin()->second.size());
  to["top_k"] = std::to_string(from.model.router().top_k);
  to["layers_before"] = std::to_string(from.model.moe_layers().size());
  to["layers"] = std::to_string(kept.size());
  to["bytes_before"] = exact_size(from.model.ledger().bytes);
  to["bytes_predicted"] = exact_size(cull::predict(from.model, from.plan).bytes);
  to["bytes_actual"] = exact_size(written.ledger().bytes);
  to["bytes_files"] = exact_size(files);
}

std::string method_of(std::string const& criterion) {
  if (criterion == "reap")
    return "REAP (Lasby et al. 2025): an expert's score is the mean, over the tokens that the model's own router sends to it, of "
           "its gate times the "
           "norm of its output. The best of every layer stay. No overlay protects experts by frequency.";
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

std::string quality_of(report::figures const& figures) {
  if (figures.models.empty()) return "Not measured yet: give the kit what `cull eval --json` prints.";
  std::string head = "| |", line = "|---|", rows;
  for (auto const& m : figures.models) {
    head += " " + m.name + " |";
    line += "---|";
  }
  auto const value = [](report::rate const& r) {
    auto out = report::fixed(r.value, 4);
    if (r.low && r.high) out += " (" + report::fixed(*r.low, 4) + " to " + report::fixed(*r.high, 4) + ")";
    return out;
  };
  auto const row = [&](std::string const& name, auto&& find) {
    rows += "| " + name + " |";
    for (auto const& m : figures.models) {
      auto const found = find(m);
      rows += " " + (found ? value(*found) : std::string{"–"}) + " |";
    }
    rows += "\n";
  };
  for (auto const& [measure, domains] : figures.models[0].by_domain) {
    for (auto const& [domain, ignored] : domains) {
      row(measure + ", " + domain,
          [&, measure = measure, domain = domain](report::evaluated_model const& m) -> std::optional<report::rate> {
            for (auto const& [key, each] : m.by_domain) {
              if (key == measure && each.contains(domain)) return each.at(domain);
            }
            return {};
          });
    }
  }
  for (auto const& [name, ignored] : figures.models[0].rates) {
    row(name, [&, name = name](report::evaluated_model const& m) -> std::optional<report::rate> {
      for (auto const& [key, each] : m.rates) {
        if (key == name) return each;
      }
      return {};
    });
  }
  return head + "\n" + line + "\n" + rows +
         "\n`nats`: nats per token on held-out texts, lower is better. Shares are of all prompts.";
}

std::string doubt_of(report::figures const& figures) {
  if (!figures.has_observation) return "How sure they are is not known here.";
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
         report::grouped(starving) + " had fewer than 32 tokens.";
}

report::request page_request(request const& from) {
  report::request out{.files = from.evidence, .title = own_name(from.dir), .command = from.command};
  out.files.push_back(from.dir / cull::plan_file_name);
  return out;
}

}  // namespace

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
  bool const set_sampling = !from.keep_sampling && generation.changed;
  values v{{"name", own_name(from.dir)}, {"base", own_name(from.model.dir())}, {"container", container_name(own_name(from.dir))}};
  add_sizes(from, v);
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
  v["doubt"] = doubt_of(figures);
  v["report_line"] = "`cull-report.html` shows every layer's scores, what was dropped, and how sure the choice is.";
  v["temperature"] = report::significant(sampling.temperature);
  v["top_p"] = report::significant(sampling.top_p);
  v["repetition_penalty"] = report::fixed(sampling.repetition_penalty, 1);
  std::string note;
  for (auto const& each : generation.notes) note += each + ". ";
  if (from.keep_sampling && !note.empty())
    note = "The base's `generation_config.json` was left as it is, so set these in requests. ";
  else if (!note.empty())
    note = "Set by the kit: " + note + "The base's file is `generation_config.base.json`. ";
  v["sampling_note"] = note;
  out.files.push_back({"README.md", filled(templates::README_md, v)});
  out.files.push_back({"docker-compose.yml", filled(templates::docker_compose_yml, v)});
  out.files.push_back({"cull-report.html", report::to_html(figures)});
  if (set_sampling) {
    out.files.push_back({"generation_config.json", generation.text});
    for (auto const& each : generation.notes) out.notes.push_back("generation_config.json: " + each);
  }
  if (fs::exists(from.model.dir() / "README.md")) out.notes.push_back("README.md: the base's is kept as README.base.md");
  return out;
}

}  // namespace kit
