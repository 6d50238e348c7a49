// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <cull/cpu.hpp>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct convert_options {
  std::string model, to, dir, check, original;
  model_choice choice;
  bool separate_scales = false;
  int threads = 0;

  cull::expert_storage storage() const {
    auto const& names = cull::expert_storage_names;
    return std::find_if(names.begin(), names.end(), [&](auto const& n) { return n.second == to; })->first;
  }
};

auto progress_of(progress_line& line, char const* stage) {
  return [&line, stage](std::uint64_t done, std::uint64_t total) {
    if (!stopped()) line(stage, static_cast<std::int64_t>(done), static_cast<std::int64_t>(total));
  };
}

void write_converted(convert_options const& o, console const& out) {
  auto const model = open_model(o.model, o.choice);
  cull::conversion wanted{.to = o.storage(),
                          .sharing = o.separate_scales ? cull::scale_sharing::none : cull::scale_sharing::gate_and_up};
  if (!o.original.empty()) wanted.original = open_model(o.original, o.choice);
  progress_line line{"MB", 1e6};
  auto const report = cull::convert(cull::on_cpu{o.threads}, model, wanted, o.dir,
                                    {.progress = progress_of(line, "convert"), .cancelled = stopped});
  for (auto const& name : report.left_behind) out.note("left behind, not part of the model: " + name);
  if (report.resumed > 0) out.say(std::to_string(report.resumed) + " files were there from an interrupted run");
  out.say("wrote " + std::to_string(report.files.size()) + " files, " + megabytes(report.bytes) + ", to " + o.dir);
  out.say("prove it with: cull convert " + o.model + " --to " + o.to + " --check " + o.dir);
  out.result(
      {{"out", o.dir}, {"to", o.to}, {"bytes", report.bytes}, {"resumed", report.resumed}, {"left_behind", report.left_behind}});
}

void check_converted(convert_options const& o, console const& out) {
  auto const model = open_model(o.model, o.choice);
  progress_line line{"MB", 1e6};
  auto const report = cull::find_conversion_differences(model, o.storage(), o.check,
                                                        {.progress = progress_of(line, "check"), .cancelled = stopped});
  out.result({{"verified", report.failures.empty()},
              {"files", report.files},
              {"tensors", report.tensors},
              {"expert_matrices", report.expert_tensors},
              {"failures", report.failures}});
  if (report.failures.empty()) {
    out.say("verified: " + std::to_string(report.expert_tensors) + " expert matrices are the source's as " + o.to + ", " +
            std::to_string(report.tensors - report.expert_tensors) + " other tensors are its bytes");
    return;
  }
  for (auto const& failure : report.failures) out.say("different: " + failure);
  if (out.as_json) throw CLI::RuntimeError{1};
  throw cull::error{cull::errc::verification_failed,
                    std::to_string(report.failures.size()) + " differences; do not use this checkpoint",
                    {.file = o.check}};
}

}  // namespace

void add_convert(CLI::App& app, console& out, action& run) {
  auto* const verb =
      add_verb(app, out, "convert", "Write the model with its experts in another format, streamed; resumes as apply does",
               "cull convert GLM-5.2-NVFP4 --to bf16 --out GLM-5.2-BF16");
  auto const o = std::make_shared<convert_options>();
  std::vector<std::string> names;
  for (auto const& each : cull::expert_storage_names) names.emplace_back(each.second);
  verb->add_option("MODEL", o->model, "directory of the model")->required();
  verb->add_option("--to", o->to, "format of the experts")->required()->check(CLI::IsMember(names));
  auto* const dir = verb->add_option("--out", o->dir, "new directory to write");
  auto* const check =
      verb->add_option("--check", o->check, "prove that this directory is the conversion, instead of writing one");
  check->excludes(dir);
  auto* const original =
      verb->add_option("--original", o->original,
                       "the model that this one was converted from: its NVFP4 tensor scales are given back bit for bit");
  original->excludes(check);
  verb->add_flag("--separate-scales", o->separate_scales,
                 "quantise gate and up with a tensor scale each (serving engines expect one for both)")
      ->excludes(check);
  add_model_options(*verb, o->choice);
  verb->add_option("--threads", o->threads, "threads (0: as many as the machine has)")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  verb->callback([=, &out, &run] {
    if (o->dir.empty() && o->check.empty()) throw CLI::RequiredError{"--out or --check"};
    run = [=, &out] { o->check.empty() ? write_converted(*o, out) : check_converted(*o, out); };
  });
}

}  // namespace program
