// SPDX-License-Identifier: Apache-2.0
#include <engine/eval.hpp>
#include <set>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct eval_verb_options {
  std::vector<std::string> models, data;
  std::string prompts, logits;
  model_choice choice;
  engine::loop_definition loop;
  int drafts = 5;
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

json value_of(std::optional<engine::figure> const& f) { return f ? json(f->value) : json(nullptr); }
json range_of(engine::figure const& f) { return json::array({f.low, f.high}); }
json range_of(std::optional<engine::figure> const& f) { return f ? range_of(*f) : json(nullptr); }

json to_json(engine::distance const& d) {
  return {{"kl", d.kl.value},
          {"top1", d.top1.value},
          {"tokens", d.tokens},
          {"intervals", {{"kl", range_of(d.kl)}, {"top1", range_of(d.top1)}}}};
}

json to_json(engine::divergence const& d, std::string const& reference) {
  json out = to_json(d.all);
  out["reference"] = reference;
  for (auto const& [name, of] : d.by_domain) out["by_domain"][name] = to_json(of);
  for (auto const& [first, of] : d.by_position) out["by_position"][std::to_string(first)] = to_json(of);
  out["by_part"] = json::object();
  for (auto const& [name, of] : d.by_part) out["by_part"][name] = to_json(of);
  return out;
}

/// Values as plain numbers, and beside them `intervals` of the same structure.
json to_json(engine::evaluation const& e, std::string const& reference) {
  json out, ranges;
  for (auto const& [domain, f] : e.nats) {
    out["nats"][domain] = f.value;
    ranges["nats"][domain] = range_of(f);
  }
  auto const add = [&](char const* name, std::optional<engine::figure> const& f) {
    out[name] = value_of(f);
    ranges[name] = range_of(f);
  };
  add("mtp_agreement", e.mtp_agreement);
  add("terminated", e.terminated);
  add("answer_correct", e.answer_correct);
  add("looped", e.looped);
  add("new_tokens", e.new_tokens);
  add("answer_tokens", e.answer_tokens);
  out["acceptance_length"] = e.acceptance.empty() ? json(nullptr) : json::object();
  for (auto const& a : e.acceptance) {
    out["acceptance_length"][std::to_string(a.drafts)] = a.length.value;
    ranges["acceptance_length"][std::to_string(a.drafts)] = range_of(a.length);
  }
  out["intervals"] = ranges;
  out["versus"] = e.divergence ? to_json(*e.divergence, reference) : json(nullptr);
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

/// Rows of a table whose columns are models.
class table {
 public:
  table(std::vector<column> const& columns, console const& out) : columns_(columns), out_(out) {
    row("", [](column const& c) { return c.first; });
  }

  /// A figure of every model, or of none.
  template <class Get>
  void figures(std::string const& name, Get&& get, bool percent, int digits) const {
    auto const number = [&](double v) { return fixed(percent ? 100 * v : v, digits); };
    bool any = false;
    for (auto const& c : columns_) any = any || get(c.second).has_value();
    if (!any) return;
    row(name + (percent ? ", %" : ""), [&](column const& c) {
      std::optional<engine::figure> const f = get(c.second);
      return f ? number(f->value) + " [" + number(f->low) + ", " + number(f->high) + "]" : std::string{"-"};
    });
  }

 private:
  template <class Text>
  void row(std::string const& name, Text&& text) const {
    std::string line = left(name, 30);
    for (auto const& c : columns_) line += right(text(c), 26);
    out_.say(line);
  }

  std::vector<column> const& columns_;
  console const& out_;
};

template <class Member>
auto of_divergence(Member&& member) {
  return [member](engine::evaluation const& e) -> std::optional<engine::figure> {
    return e.divergence ? member(*e.divergence) : std::nullopt;
  };
}

void print_divergence(table const& to, std::vector<column> const& columns) {
  engine::divergence names;
  for (auto const& [name, e] : columns) {
    if (!e.divergence) continue;
    names.by_domain.insert(e.divergence->by_domain.begin(), e.divergence->by_domain.end());
    names.by_part.insert(e.divergence->by_part.begin(), e.divergence->by_part.end());
  }
  using engine::divergence;
  auto const some = [](auto const& map, auto const& key, auto member) -> std::optional<engine::figure> {
    auto const found = map.find(key);
    return found == map.end() ? std::nullopt : std::optional{found->second.*member};
  };
  to.figures("KL to the first, nats", of_divergence([](divergence const& d) { return std::optional{d.all.kl}; }), false, 4);
  for (auto const& [domain, unused] : names.by_domain) {
    to.figures("  " + domain,
               of_divergence([&, key = domain](divergence const& d) { return some(d.by_domain, key, &engine::distance::kl); }),
               false, 4);
  }
  for (auto const& [part, unused] : names.by_part) {
    to.figures("  " + part + " </think>",
               of_divergence([&, key = part](divergence const& d) { return some(d.by_part, key, &engine::distance::kl); }), false,
               4);
  }
  to.figures("same likeliest token", of_divergence([](divergence const& d) { return std::optional{d.all.top1}; }), true, 2);
}

void print(std::vector<column> const& columns, console const& out) {
  using engine::evaluation;
  table const to{columns, out};
  std::set<std::string> domains;
  for (auto const& c : columns) {
    for (auto const& [domain, nats] : c.second.nats) domains.insert(domain);
  }
  for (auto const& domain : domains) {
    to.figures(
        "nats per token, " + domain,
        [&](evaluation const& e) {
          auto const found = e.nats.find(domain);
          return found == e.nats.end() ? std::nullopt : std::optional{found->second};
        },
        false, 4);
  }
  print_divergence(to, columns);
  to.figures(
      "MTP agreement", [](evaluation const& e) { return e.mtp_agreement; }, true, 2);
  to.figures(
      "prompts terminated", [](evaluation const& e) { return e.terminated; }, true, 1);
  to.figures(
      "answers correct", [](evaluation const& e) { return e.answer_correct; }, true, 1);
  to.figures(
      "prompts that loop", [](evaluation const& e) { return e.looped; }, true, 1);
  to.figures(
      "new tokens", [](evaluation const& e) { return e.new_tokens; }, false, 1);
  to.figures(
      "answer tokens", [](evaluation const& e) { return e.answer_tokens; }, false, 2);
  for (std::size_t k = 0; k < 16; ++k) {
    to.figures(
        "tokens per run, " + std::to_string(k + 1) + " drafts",
        [&](evaluation const& e) { return k < e.acceptance.size() ? std::optional{e.acceptance[k].length} : std::nullopt; },
        false, 2);
  }
  out.say("[95 % intervals: shares of prompts by Wilson's score, all others by bootstrap over sequences]");
}

/// Held-out sequences and prompts, the same for all models.
struct questions {
  std::vector<engine::sequence> sequences;
  std::vector<engine::prompt> prompts;
};

questions read_questions(eval_verb_options const& o, std::int64_t vocabulary) {
  return {read_data(o.data, {}, vocabulary),
          o.prompts.empty() ? std::vector<engine::prompt>{} : engine::read_prompts(o.prompts, vocabulary)};
}

engine::evaluation evaluate(cull::checkpoint const& model, questions const& asked, eval_verb_options const& o,
                            engine::reference_run const* reference, logits_keeper& keeper) {
  progress_line line{"", 1};
  engine::eval_options options{.precision = o.running.policy(),
                               .batch_tokens = o.running.batch_tokens,
                               .loop = o.loop,
                               .drafts = o.drafts,
                               .reference = reference,
                               .progress = std::ref(line)};
  if (!o.logits.empty()) {
    options.on_logits = [&](std::int64_t s, auto logits) { keeper.keep("logits." + std::to_string(s), logits); };
    options.on_mtp_logits = [&](std::int64_t s, auto logits) { keeper.keep("mtp_logits." + std::to_string(s), logits); };
  }
  return engine::evaluate(model, o.running.exec(), asked.sequences, asked.prompts, options);
}

void eval(eval_verb_options const& o, console const& out) {
  if (!o.logits.empty() && std::filesystem::exists(o.logits))
    throw cull::error{cull::errc::already_exists, "exists; choose another name", {.file = o.logits}};
  logits_keeper keeper;
  std::vector<column> columns;
  json models;
  // All before the first is run: a name that is wrong must not cost what was computed before it.
  std::vector<std::pair<std::string, cull::checkpoint>> opened;
  for (auto const& text : o.models) {
    auto const [name, dir] = labelled(text);
    opened.emplace_back(name, open_model(dir, o.choice));
  }
  auto const& [first_name, first] = opened.front();
  auto const asked = read_questions(o, engine::read_model_config(first).vocabulary);
  std::optional<engine::reference_run> reference;
  if (o.models.size() > 1) {
    reference.emplace(first, o.running.exec(), asked.sequences,
                      engine::decoder_options{.precision = o.running.policy(), .batch_tokens = o.running.batch_tokens});
  }
  for (auto const& [name, model] : opened) {
    columns.emplace_back(name, evaluate(model, asked, o, columns.empty() ? nullptr : &*reference, keeper));
    models[name] = to_json(columns.back().second, first_name);
  }
  if (!o.logits.empty()) keeper.write(o.logits);
  print(columns, out);
  out.result(o.models.size() == 1 ? models.begin().value() : models);
}

}  // namespace

void add_eval(CLI::App& app, console& out, action& run) {
  auto* const verb =
      add_verb(app, out, "eval",
               "Nats per token by domain, MTP agreement, termination, answers, loops, lengths; several models side by side, and "
               "token by token against the first",
               "cull eval full=GLM-5.2-NVFP4 pruned=GLM-5.2-NVFP4-168 --data heldout.jsonl --prompts prompts.jsonl");
  auto const o = std::make_shared<eval_verb_options>();
  verb->add_option("MODEL", o->models, "directories of models, each DIR or NAME=DIR")->required();
  verb->add_option("--data", o->data, "held-out sequences (JSON lines); may be given several times")->required();
  verb->add_option("--prompts", o->prompts, "prompts with answers (JSON lines)");
  verb->add_option("--loop-ids", o->loop.ids, "a continuation loops where one run of so many tokens ...")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_option("--loop-times", o->loop.times, "... occurs so often")->check(CLI::Range(2, 4096))->capture_default_str();
  verb->add_option("--drafts", o->drafts,
                   "acceptance lengths for 1 to so many drafts of the MTP layer (0: none); needs --prompts")
      ->check(CLI::Range(0, 16))
      ->capture_default_str();
  verb->add_option("--logits", o->logits,
                   "write logits.N and mtp_logits.N of every sequence to this safetensors file (one model)");
  add_model_options(*verb, o->choice);
  o->running.add_to(*verb);
  verb->callback([=, &out, &run] {
    if (!o->logits.empty() && o->models.size() > 1) throw CLI::ValidationError{"--logits", "takes one model"};
    run = [=, &out] { eval(*o, out); };
  });
}

}  // namespace program
