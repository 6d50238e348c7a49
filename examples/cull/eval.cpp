// SPDX-License-Identifier: Apache-2.0
#include <engine/eval.hpp>
#include <set>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct eval_verb_options {
  std::vector<std::string> models, data;
  std::string prompts, logits, family;
  run_options running;
};

/// Logits of every sequence, kept to be written.
class logits_keeper {
 public:
  void keep(std::string const& name, cull::matrix_view<float const> logits) {
    auto& to = kept_.emplace_back(tensor{name, logits.rows(), logits.cols(), {}});
    for (std::int64_t t = 0; t < logits.rows(); ++t)
      to.values.insert(to.values.end(), logits.row(t).begin(), logits.row(t).end());
  }
  void write(std::string const& path) const {
    std::vector<cull::tensor_source> sources;
    for (auto const& t : kept_) {
      sources.push_back({t.name,
                         cull::dtype::f32,
                         {static_cast<std::uint64_t>(t.rows), static_cast<std::uint64_t>(t.cols)},
                         std::as_bytes(std::span{t.values})});
    }
    cull::write_safetensors(path, {{"format", "pt"}}, sources);
  }

 private:
  struct tensor {
    std::string name;
    std::int64_t rows, cols;
    std::vector<float> values;
  };
  std::vector<tensor> kept_;
};

json to_json(engine::evaluation const& e) {
  json nats;
  for (auto const& [domain, value] : e.nats) nats[domain] = value;
  json out{{"nats", nats}};
  out["mtp_agreement"] = e.mtp_agreement ? json(*e.mtp_agreement) : json(nullptr);
  out["terminated"] = e.terminated ? json(*e.terminated) : json(nullptr);
  out["answer_correct"] = e.answer_correct ? json(*e.answer_correct) : json(nullptr);
  return out;
}

/// "name=directory", or a directory that names itself.
std::pair<std::string, std::string> labelled(std::string const& text) {
  auto const at = text.find('=');
  if (at != std::string::npos && !std::filesystem::exists(text)) return {text.substr(0, at), text.substr(at + 1)};
  auto path = std::filesystem::path{text};
  return {(path.has_filename() ? path : path.parent_path()).filename().string(), text};
}

using column = std::pair<std::string, engine::evaluation>;

void print(std::vector<column> const& columns, console const& out) {
  auto const row = [&](std::string const& name, auto&& value) {
    std::string line = left(name, 26);
    for (auto const& c : columns) line += right(value(c), 13);
    out.say(line);
  };
  auto const share = [](std::optional<double> const& value) { return value ? fixed(100 * *value, 2) + " %" : std::string{"-"}; };
  std::set<std::string> domains;
  for (auto const& c : columns) {
    for (auto const& [domain, nats] : c.second.nats) domains.insert(domain);
  }
  row("", [](column const& c) { return c.first; });
  for (auto const& domain : domains) {
    row("nats per token, " + domain,
        [&](column const& c) { return c.second.nats.contains(domain) ? fixed(c.second.nats.at(domain), 4) : std::string{"-"}; });
  }
  row("MTP agreement", [&](column const& c) { return share(c.second.mtp_agreement); });
  row("prompts terminated", [&](column const& c) { return share(c.second.terminated); });
  row("answers correct", [&](column const& c) { return share(c.second.answer_correct); });
}

engine::evaluation evaluate(std::string const& dir, eval_verb_options const& o, logits_keeper& keeper) {
  auto const model = open_model(dir, o.family);
  auto const vocabulary = engine::read_model_config(model).vocabulary;
  auto const sequences = read_data(o.data, {}, vocabulary);
  auto const prompts = o.prompts.empty() ? std::vector<engine::prompt>{} : engine::read_prompts(o.prompts, vocabulary);
  progress_line line{"", 1};
  engine::eval_options options{
      .precision = o.running.policy(), .batch_tokens = o.running.batch_tokens, .progress = std::ref(line)};
  if (!o.logits.empty()) {
    options.on_logits = [&](std::int64_t s, auto logits) { keeper.keep("logits." + std::to_string(s), logits); };
    options.on_mtp_logits = [&](std::int64_t s, auto logits) { keeper.keep("mtp_logits." + std::to_string(s), logits); };
  }
  return engine::evaluate(model, o.running.exec(), sequences, prompts, options);
}

void eval(eval_verb_options const& o, console const& out) {
  logits_keeper keeper;
  std::vector<column> columns;
  json models;
  for (auto const& text : o.models) {
    auto const [name, dir] = labelled(text);
    columns.emplace_back(name, evaluate(dir, o, keeper));
    models[name] = to_json(columns.back().second);
  }
  if (!o.logits.empty()) keeper.write(o.logits);
  print(columns, out);
  out.result(o.models.size() == 1 ? models.begin().value() : models);
}

}  // namespace

void add_eval(CLI::App& app, console& out, action& run) {
  auto* const verb =
      add_verb(app, out, "eval", "Nats per token by domain, MTP agreement, termination and answers; several models side by side",
               "cull eval full=GLM-5.2-NVFP4 pruned=GLM-5.2-NVFP4-168 --data heldout.jsonl --prompts prompts.jsonl");
  auto const o = std::make_shared<eval_verb_options>();
  verb->add_option("MODEL", o->models, "directories of models, each DIR or NAME=DIR")->required();
  verb->add_option("--data", o->data, "held-out sequences (JSON lines); may be given several times")->required();
  verb->add_option("--prompts", o->prompts, "prompts with answers (JSON lines)");
  verb->add_option("--logits", o->logits,
                   "write logits.N and mtp_logits.N of every sequence to this safetensors file (one model)");
  add_family_option(*verb, o->family);
  o->running.add_to(*verb);
  verb->callback([=, &out, &run] {
    if (!o->logits.empty() && o->models.size() > 1) throw CLI::ValidationError{"--logits", "takes one model"};
    run = [=, &out] { eval(*o, out); };
  });
}

}  // namespace program
