// SPDX-License-Identifier: Apache-2.0
#include <engine/calibrate.hpp>
#include <engine/states.hpp>

#include <chrono>

#include "counted_heap.hpp"
#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct calibrate_options {
  std::string model;
  model_choice choice;
  std::vector<std::string> data, states, emphases;
  bool by_domain = false, leave_one_out = false;
  int sequential = 0;
  std::string criterion = "reap";
  output_options output;
  run_options running;
};

std::int64_t never_chosen(engine::observation const& seen) {
  std::int64_t out = 0;
  for (int const layer : seen.layers()) {
    for (int e = 0; e < seen.experts(layer); ++e) out += seen.sums(layer, e).count() == 0 ? 1 : 0;
  }
  return out;
}

engine::calibration run_model(cull::checkpoint const& model, calibrate_options const& o, progress_line& line) {
  if (!o.states.empty()) {
    std::vector<std::filesystem::path> const files{o.states.begin(), o.states.end()};
    return engine::calibrate_from_states(model, o.running.exec(), files,
                                         {.precision = o.running.policy(),
                                          .batch_tokens = o.running.batch_tokens,
                                          .leave_one_out = o.leave_one_out,
                                          .progress = std::ref(line),
                                          .heap = heap()});
  }
  auto const sequences = read_data(o.data, o.emphases, engine::read_model_config(model).vocabulary);
  engine::calibration_options options{.precision = o.running.policy(),
                                      .batch_tokens = o.running.batch_tokens,
                                      .by_domain = o.by_domain,
                                      .leave_one_out = o.leave_one_out,
                                      .progress = std::ref(line),
                                      .heap = heap()};
  if (o.sequential > 0) options.sequential = {{o.sequential, std::max(1, model.router().groups)}, o.criterion};
  return engine::calibrate(model, o.running.exec(), sequences, options);
}

/// Seconds by name: the engine's stages, and what the program does before and after them. They add up to the whole run's.
json stage_seconds(engine::stage_times const& engine, double read, double save) {
  json out{{"read", read}, {"save", save}};
  for (auto const stage : engine::stage_times::all) out[engine::stage_times::name(stage)] = engine[stage];
  return out;
}

std::string shares(json const& stages, double seconds) {
  std::string out;
  for (auto const& [name, time] : stages.items()) {
    out += (out.empty() ? "" : ", ") + name + " " + fixed(100 * time.get<double>() / seconds, 0) + " %";
  }
  return out;
}

void calibrate(calibrate_options const& o, console const& out) {
  auto const begin = std::chrono::steady_clock::now();
  auto const elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  o.output.check();
  for (auto const& text : o.emphases) parse_emphasis(text);
  auto const model = open_model(o.model, o.choice);
  progress_line line{"tokens", 1};
  auto const result = run_model(model, o, line);
  auto const measured = elapsed();
  cull::save(result.observation, o.output.path, o.output.policy());
  auto const seconds = elapsed();
  auto const stages = stage_seconds(result.times, measured - result.seconds, seconds - measured);
  auto const never = never_chosen(result.observation);
  out.say("calibrated on " + std::to_string(result.observation.provenance().sequences.size()) + " sequences, " +
          std::to_string(result.tokens) + " tokens in " + fixed(seconds, 1) + " s (" + std::to_string(result.threads) +
          " threads, " + std::to_string(result.batches) + " batches)");
  out.say("time: " + shares(stages, seconds) + "; memory: " + megabytes(static_cast<std::uint64_t>(result.state_bytes)) +
          " of hidden states, " + megabytes(static_cast<std::uint64_t>(result.scratch_bytes)) + " of scratch, " +
          megabytes(static_cast<std::uint64_t>(result.resident_bytes)) + " resident at most, mapped weights included");
  if (never > 0) out.say(std::to_string(never) + " experts were never chosen; they score 0");
  out.say("wrote " + o.output.path);
  out.result({{"sequences", result.observation.provenance().sequences.size()},
              {"tokens", result.tokens},
              {"batches", result.batches},
              {"threads", result.threads},
              {"seconds", seconds},
              {"stages", stages},
              {"memory",
               {{"mapped_bytes", result.mapped_bytes},
                {"state_bytes", result.state_bytes},
                {"scratch_bytes", result.scratch_bytes},
                {"resident_bytes", result.resident_bytes}}},
              {"never_chosen", never},
              {"settings", result.observation.provenance().settings},
              {"precision", o.running.precision},
              {"out", o.output.path}});
}

}  // namespace

void add_calibrate(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(
      app, out, "calibrate", "Measure on texts how much each expert matters",
      "cull calibrate GLM-5.2-NVFP4 --data code.jsonl --data traces.jsonl --emphasize 262:16:6 --out term.obs.safetensors");
  auto const o = std::make_shared<calibrate_options>();
  verb->add_option("MODEL", o->model, "directory of the model")->required();
  add_model_options(*verb, o->choice);
  auto* const data = verb->add_option("--data", o->data, "calibration sequences (JSON lines); may be given several times");
  auto* const states = verb->add_option("--states", o->states,
                                        "recorded inputs of the MoE blocks (safetensors with block_input.L) instead of --data");
  data->excludes(states);
  verb->add_option("--emphasize", o->emphases, "TOKEN:RADIUS:WEIGHT multiplies the weight of tokens near each TOKEN")
      ->excludes(states);
  verb->add_flag("--by-domain", o->by_domain, "keep the sums of each domain apart")->excludes(states);
  verb->add_flag("--leave-one-out", o->leave_one_out,
                 "also sum what the routed output loses without each expert (criterion leave_one_out); runs one more expert for "
                 "every top-k chosen ones");
  verb->add_option("--sequential", o->sequential,
                   "prune each layer to so many experts as soon as it is measured, so that later layers see the pruned prefix; "
                   "runs every layer twice (default: all layers see the whole model)")
      ->check(CLI::Range(1, 65536))
      ->excludes(states);
  std::vector<std::string> names{cull::criteria::names.begin(), cull::criteria::names.end()};
  names.insert(names.end(), cull::criteria::block_names.begin(), cull::criteria::block_names.end());
  verb->add_option("--criterion", o->criterion, "of --sequential")->check(CLI::IsMember(names))->capture_default_str();
  o->output.add_to(*verb, "observation file to write");
  o->running.add_to(*verb);
  verb->callback([=, &out, &run] {
    if (o->criterion == "leave_one_out" && o->sequential > 0) o->leave_one_out = true;
    if (o->data.empty() && o->states.empty()) throw CLI::RequiredError{"--data or --states"};
    run = [=, &out] { calibrate(*o, out); };
  });
}

}  // namespace program
