// SPDX-License-Identifier: Apache-2.0
#include <engine/eval.hpp>
#include <engine/generate.hpp>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct generate_verb_options {
  model_choice choice;
  std::string model, prompts, domain = "traces";
  engine::sampling sampling;
  bool terminating_only = false;
  int think_end = 262, end = 263;
  output_options output;
  run_options running;
};

/// A calibration sequence as a JSON line.
std::string line_of(engine::trace const& trace, std::string const& domain) {
  return json{{"id", trace.id}, {"domain", domain}, {"ids", trace.ids}}.dump() + "\n";
}

void generate(generate_verb_options const& o, console const& out) {
  o.output.check();
  auto const model = open_model(o.model, o.choice);
  auto const prompts = engine::read_prompts(o.prompts, engine::read_model_config(model).vocabulary);
  progress_line line{"prompts", 1};
  auto const traces = engine::generate(model, o.running.exec(), prompts, o.sampling,
                                       {.precision = o.running.policy(), .progress = std::ref(line)});
  engine::eval_options ends;
  ends.think_end = o.think_end;
  ends.end = o.end;
  std::string text;
  std::int64_t terminated = 0, written = 0;
  for (auto const& each : traces) {
    bool const ended = engine::is_terminated(each.new_ids, ends);
    terminated += ended ? 1 : 0;
    if (o.terminating_only && !ended) continue;
    text += line_of(each, o.domain);
    ++written;
  }
  cull::write_file(o.output.path, text, o.output.policy());
  out.say(std::to_string(terminated) + " of " + std::to_string(traces.size()) + " traces came to their end; wrote " +
          std::to_string(written) + " to " + o.output.path);
  out.result({{"prompts", traces.size()}, {"terminated", terminated}, {"written", written}, {"out", o.output.path}});
}

}  // namespace

void add_generate(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(
      app, out, "generate", "Let the model continue prompts; the traces are calibration sequences",
      "cull generate GLM-5.2-NVFP4 --prompts prompts.jsonl --temperature 0.6 --top-p 0.95 --terminating-only --out traces.jsonl");
  auto const o = std::make_shared<generate_verb_options>();
  verb->add_option("MODEL", o->model, "directory of the model")->required();
  add_model_options(*verb, o->choice);
  verb->add_option("--prompts", o->prompts, "prompts (JSON lines)")->required();
  verb->add_option("--temperature", o->sampling.temperature, "0: the likeliest token each time")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--top-p", o->sampling.top_p, "draw from the smallest set of tokens this likely")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--seed", o->sampling.seed, "of the draws")->capture_default_str();
  verb->add_option("--max-tokens", o->sampling.max_tokens, "new tokens per prompt")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("--stop", o->sampling.stop, "ids that end a trace (default: the model's eos_token_id)");
  verb->add_option("--domain", o->domain, "domain of the written sequences")->capture_default_str();
  verb->add_flag("--terminating-only", o->terminating_only, "keep only prompt -> think -> answer -> end");
  verb->add_option("--think-end", o->think_end, "id of </think>")->capture_default_str();
  verb->add_option("--end", o->end, "id that must end an answer")->capture_default_str();
  o->output.add_to(*verb, "file of traces to write (JSON lines)");
  o->running.add_to(*verb);
  verb->callback([=, &out, &run] { run = [=, &out] { generate(*o, out); }; });
}

}  // namespace program
