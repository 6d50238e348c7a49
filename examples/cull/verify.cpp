// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "checksums.hpp"
#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct verify_verb_options {
  std::string model, plan, dir;
  model_choice choice;
  double sample = 1;
  int threads = 0;
  bool servable = false;
};

/// The plan, with the options of apply that the checkpoint itself says it was
/// written with.
cull::pruning_plan read_plan(verify_verb_options const& o, console const& out) {
  auto plan = cull::load_plan(o.plan);
  auto const path = std::filesystem::path{o.dir} / cull::plan_file_name;
  if (!std::filesystem::exists(path)) return plan;
  auto const written = cull::load_plan(path);
  plan.shard_bytes = written.shard_bytes;
  plan.input_scales = written.input_scales;
  if (plan.shard_bytes > 0) out.say("written with shards of at most " + std::to_string(plan.shard_bytes) + " bytes");
  if (plan.input_scales == cull::input_scales::max) out.say("written with --input-scale max");
  return plan;
}

json lost_scales(cull::checkpoint const& model, cull::pruning_plan const& plan, console const& out) {
  json lost = json::array();
  for (auto const& c : cull::lost_input_scales(model, cull::keep_sets(model, plan))) {
    lost.push_back({{"layer", c.layer}, {"tensor", c.tensor}, {"before", c.before}, {"after", c.after}});
    char text[256];
    std::snprintf(text, sizeof text, "layer %d %s: widest input scale was %.6g, of the experts kept %.6g", c.layer,
                  c.tensor.c_str(), static_cast<double>(c.before), static_cast<double>(c.after));
    out.say(text + std::string{plan.input_scales == cull::input_scales::max ? " (all were given the former)" : ""});
  }
  return lost;
}

/// A sample is for those in haste, unless they ask for what only a look at all scales can tell.
bool reads_scales(verify_verb_options const& o) { return o.sample >= 1 || o.servable; }

std::vector<cull::serving_check> serving_checks(verify_verb_options const& o, cull::checkpoint const& model,
                                                cull::pruning_plan const& plan) {
  auto const scales = reads_scales(o) ? cull::block_scales::scan : cull::block_scales::skip;
  auto out = cull::serving_checks(cull::open_written(model, o.dir), scales);
  out.push_back(cull::input_scale_check(model, plan));
  return out;
}

/// A table of what serving engines demand, and of what it means to each whether it is met or not.
json serving_table(std::vector<cull::serving_check> const& checks, console const& out) {
  json rows = json::array();
  out.say("");
  for (auto const& c : checks) {
    char const* const verdict = c.verdict == cull::serving_verdict::good   ? "good"
                                : c.verdict == cull::serving_verdict::note ? "note"
                                                                           : "BAD";
    rows.push_back({{"demand", c.demand},
                    {"verdict", verdict},
                    {"found", c.found},
                    {"vllm", c.vllm},
                    {"sglang", c.sglang},
                    {"tensorrt_llm", c.tensorrt_llm}});
    out.say(left(verdict, 6) + left(c.demand, 76) + c.found);
    out.say("        vLLM: " + c.vllm);
    out.say("        SGLang: " + c.sglang);
    out.say("        TensorRT-LLM: " + c.tensorrt_llm);
  }
  return rows;
}

void tell_proved(verify_verb_options const& o, cull::verify_report const& report, console const& out) {
  out.say("verified: " + std::to_string(report.expert_tensors) + " expert tensors and " +
          std::to_string(report.tensors - report.expert_tensors) + " others, " + std::to_string(report.bytes) +
          " bytes, are the source's bytes under the plan's numbers; index, "
          "configs and all " +
          std::to_string(report.files) + " files are as they must be");
  if (o.sample < 1) {
    out.say("a sample: the bytes of " + std::to_string(report.all_tensors - report.tensors) +
            " tensors were not compared; one wrong tensor is found with "
            "probability " +
            fixed(o.sample, 3) + ", ten with " + fixed(1 - std::pow(1 - o.sample, 10), 3));
  }
}

/// The end where the result was given already: a person is told why, a program has it.
[[noreturn]] void fail(std::string const& what, std::string const& dir, console const& out) {
  cull::error const problem{cull::errc::verification_failed, what, {.file = dir}};
  if (!out.as_json) out.note(std::string{"cull: "} + problem.what());
  throw CLI::RuntimeError{1};
}

void verify(verify_verb_options const& o, console const& out) {
  auto const model = open_model(o.model, o.choice);
  auto const plan = read_plan(o, out);
  progress_line line{"MB", 1e6};
  auto report = cull::find_differences(model, plan, o.dir,
                                       {.progress =
                                            [&](std::uint64_t done, std::uint64_t total) {
                                              if (!stopped())
                                                line("verify", static_cast<std::int64_t>(done), static_cast<std::int64_t>(total));
                                            },
                                        .cancelled = stopped,
                                        .sample = o.sample,
                                        .threads = o.threads});
  check_checksums(o.dir, o.threads, report.failures);
  json result{{"verified", report.failures.empty()}, {"files", report.files},
              {"tensors", report.tensors},           {"expert_tensors", report.expert_tensors},
              {"all_tensors", report.all_tensors},   {"bytes", report.bytes},
              {"failures", report.failures}};
  if (report.failures.empty()) {
    tell_proved(o, report, out);
    result["lost_input_scales"] = lost_scales(model, plan, out);
    auto const checks = serving_checks(o, model, plan);
    auto const bad =
        std::count_if(checks.begin(), checks.end(), [](auto const& c) { return c.verdict == cull::serving_verdict::bad; });
    result["serving"] = serving_table(checks, out);
    // Neither where nothing is bad of what was looked at, and not all was.
    result["servable"] = bad == 0 && !reads_scales(o) ? json{} : json(bad == 0);
    out.result(result);
    if (bad == 0) return;
    auto const text = std::to_string(bad) + (bad == 1 ? " demand of serving engines is" : " demands of serving engines are") +
                      " not met, see BAD; the bytes are proved all the same";
    if (!o.servable) return out.say(text);
    fail(text, o.dir, out);
  }
  out.result(result);
  for (auto const& failure : report.failures) out.say("different: " + failure);
  fail(std::to_string(report.failures.size()) + " differences; do not use this checkpoint", o.dir, out);
}

}  // namespace

void add_verify(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "verify", "Prove byte by byte that a pruned checkpoint is what model and plan say",
                              "cull verify GLM-5.2-NVFP4 plan.json GLM-5.2-NVFP4-168");
  auto const o = std::make_shared<verify_verb_options>();
  verb->add_option("MODEL", o->model, "directory of the source model")->required();
  verb->add_option("PLAN", o->plan, "plan file")->required();
  verb->add_option("DIR", o->dir, "directory that apply wrote")->required();
  verb->add_option("--sample", o->sample,
                   "share of the tensors whose bytes are compared; all else is "
                   "checked in full")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--threads", o->threads, "shards compared side by side (0: up to 4, as the machine has)")
      ->check(CLI::Range(0, 256));
  verb->add_flag("--servable", o->servable,
                 "exit status 1, too, where a demand of serving engines is BAD; without it the status is about the bytes alone");
  add_model_options(*verb, o->choice);
  verb->callback([=, &out, &run] { run = [=, &out] { verify(*o, out); }; });
}

}  // namespace program
