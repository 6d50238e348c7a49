// SPDX-License-Identifier: Apache-2.0
#include <kit/kit.hpp>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct paths {
  std::string model, plan, dir, family;
};

struct kit_options {
  bool wanted = false, keep_sampling = false;
  std::vector<std::string> evidence;

  void add_to(CLI::App& verb) {
    verb.add_option("--with", evidence,
                    "observations, and what eval --json printed, for card and report; may be given several times");
    verb.add_flag("--keep-sampling", keep_sampling, "leave the source's generation_config.json as it is");
  }
};

/// Adds what goes with the model: card, compose file, sampling defaults, report.
json write_kit(cull::checkpoint const& model, cull::pruning_plan const& plan, paths const& p, kit_options const& o,
               console const& out) {
  auto const made = kit::make({.model = model,
                               .plan = plan,
                               .dir = p.dir,
                               .evidence = {o.evidence.begin(), o.evidence.end()},
                               .command = out.command,
                               .keep_sampling = o.keep_sampling});
  cull::add_files(p.dir, made.files);
  json names = json::array();
  for (auto const& file : made.files) names.push_back(file.name);
  for (auto const& note : made.notes) out.note(note);
  out.say("added " + std::to_string(made.files.size()) + " files that go with the model: " + made.files[0].name +
          " says what it is");
  return {{"files", names}, {"notes", made.notes}};
}

void kit_alone(paths const& p, kit_options const& o, console const& out) {
  auto const model = open_model(p.model, p.family);
  out.result(write_kit(model, cull::load_plan(p.plan), p, o, out));
}

void apply(paths const& p, kit_options const& kit, console const& out) {
  auto const model = open_model(p.model, p.family);
  auto const plan = cull::load_plan(p.plan);
  progress_line line{"MB", 1e6};
  auto const report = cull::apply(model, plan, p.dir,
                                  {.progress =
                                       [&](std::uint64_t done, std::uint64_t total) {
                                         if (!stopped())
                                           line("apply", static_cast<std::int64_t>(done), static_cast<std::int64_t>(total));
                                       },
                                   .cancelled = stopped});
  for (auto const& name : report.left_behind) out.note("left behind, not part of the model: " + name);
  if (report.resumed > 0) out.say(std::to_string(report.resumed) + " files were there from an interrupted run");
  out.say("wrote " + std::to_string(report.files.size()) + " files, " + megabytes(report.bytes) + ", to " + p.dir);
  json files = json::array();
  for (auto const& f : report.files) files.push_back({{"name", f.name}, {"bytes", f.bytes}, {"xxh128", f.xxh128}});
  json result{{"out", p.dir},
              {"bytes", report.bytes},
              {"resumed", report.resumed},
              {"files", files},
              {"left_behind", report.left_behind}};
  if (kit.wanted) result["kit"] = write_kit(model, plan, p, kit, out);
  out.result(result);
}

void verify(paths const& p, console const& out) {
  auto const model = open_model(p.model, p.family);
  auto const plan = cull::load_plan(p.plan);
  progress_line line{"MB", 1e6};
  auto const report =
      cull::find_differences(model, plan, p.dir,
                             {.progress =
                                  [&](std::uint64_t done, std::uint64_t total) {
                                    line("verify", static_cast<std::int64_t>(done), static_cast<std::int64_t>(total));
                                  },
                              .cancelled = stopped});
  out.result({{"verified", report.failures.empty()},
              {"files", report.files},
              {"tensors", report.tensors},
              {"expert_tensors", report.expert_tensors},
              {"bytes", report.bytes},
              {"failures", report.failures}});
  if (report.failures.empty()) {
    out.say("verified: " + std::to_string(report.expert_tensors) + " expert tensors and " +
            std::to_string(report.tensors - report.expert_tensors) + " others, " + std::to_string(report.bytes) +
            " bytes, are the source's bytes under the plan's numbers; index, configs and all " + std::to_string(report.files) +
            " files are as they must be");
    return;
  }
  for (auto const& failure : report.failures) out.say("different: " + failure);
  if (out.as_json) throw CLI::RuntimeError{1};
  throw cull::error{cull::errc::verification_failed,
                    std::to_string(report.failures.size()) + " differences; do not use this checkpoint",
                    {.file = p.dir}};
}

}  // namespace

void add_apply(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "apply", "Write the pruned checkpoint; goes on where an interrupted run stopped",
                              "cull apply GLM-5.2-NVFP4 plan.json --out GLM-5.2-NVFP4-168");
  auto const p = std::make_shared<paths>();
  verb->add_option("MODEL", p->model, "directory of the model")->required();
  verb->add_option("PLAN", p->plan, "plan file")->required();
  verb->add_option("--out", p->dir, "new directory to write")->required();
  add_family_option(*verb, p->family);
  auto const kit = std::make_shared<kit_options>();
  verb->add_flag("--kit", kit->wanted, "add card, compose file for vLLM, sampling defaults, report");
  kit->add_to(*verb);
  verb->callback([=, &out, &run] {
    if (!kit->wanted && (!kit->evidence.empty() || kit->keep_sampling)) throw CLI::RequiredError{"--kit"};
    run = [=, &out] { apply(*p, *kit, out); };
  });
}

void add_kit(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(
      app, out, "kit", "Add card, compose file, sampling defaults and report to a model that apply wrote, or make them anew",
      "cull kit GLM-5.2-NVFP4 plan.json GLM-5.2-NVFP4-168 --with term.obs.safetensors --with eval.json");
  auto const p = std::make_shared<paths>();
  auto const kit = std::make_shared<kit_options>();
  verb->add_option("MODEL", p->model, "directory of the source model")->required();
  verb->add_option("PLAN", p->plan, "plan file")->required();
  verb->add_option("DIR", p->dir, "directory that apply wrote")->required();
  add_family_option(*verb, p->family);
  kit->add_to(*verb);
  verb->callback([=, &out, &run] { run = [=, &out] { kit_alone(*p, *kit, out); }; });
}

void add_verify(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "verify", "Prove byte by byte that a pruned checkpoint is what model and plan say",
                              "cull verify GLM-5.2-NVFP4 plan.json GLM-5.2-NVFP4-168");
  auto const p = std::make_shared<paths>();
  verb->add_option("MODEL", p->model, "directory of the source model")->required();
  verb->add_option("PLAN", p->plan, "plan file")->required();
  verb->add_option("DIR", p->dir, "directory that apply wrote")->required();
  add_family_option(*verb, p->family);
  verb->callback([=, &out, &run] { run = [=, &out] { verify(*p, out); }; });
}

}  // namespace program
