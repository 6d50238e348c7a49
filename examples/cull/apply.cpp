// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <kit/kit.hpp>

#include "checksums.hpp"
#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct apply_verb_options {
  std::string model, plan, dir, shard_size, input_scale, hash = "xxh128";
  model_choice choice;
  int threads = 0;
  bool paranoid = false, dry_run = false, direct = false;
};

struct paths {
  std::string model, plan, dir;
  model_choice choice;
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

/// What goes with the model: card, compose file, sampling defaults, report. Observations and the like are read here, and again in
/// the directory, which may have another name yet; what was made there is left in `made`. Refers to all of it.
cull::file_adder kit_adder(cull::checkpoint const& model, cull::pruning_plan const& plan, paths const& p, kit_options const& o,
                           kit::contents& made, console const& out) {
  auto const whole = std::filesystem::absolute(p.dir).lexically_normal();
  kit::request from{.model = model,
                    .plan = plan,
                    .dir = p.dir,
                    .name = (whole.has_filename() ? whole : whole.parent_path()).filename().string(),
                    .evidence = {o.evidence.begin(), o.evidence.end()},
                    .command = out.command,
                    .keep_sampling = o.keep_sampling};
  auto names = kit::check(from, p.plan);
  return {std::move(names), [from, &made](std::filesystem::path const& dir, auto const&) mutable {
            from.dir = dir;
            made = kit::make(from);
            return made.files;
          }};
}

json tell_kit(kit::contents const& made, console const& out) {
  json names = json::array();
  for (auto const& file : made.files) names.push_back(file.name);
  for (auto const& note : made.notes) out.note(note);
  out.say("added " + std::to_string(made.files.size()) + " files that go with the model: " + made.files[0].name +
          " says what it is");
  return {{"files", names}, {"notes", made.notes}};
}

void kit_alone(paths const& p, kit_options const& o, console const& out) {
  auto const model = open_model(p.model, p.choice);
  auto const plan = cull::load_plan(p.plan);
  kit::contents made;
  cull::add_made_files(p.dir, kit_adder(model, plan, p, o, made, out));
  auto result = tell_kit(made, out);
  if (has_checksums(p.dir)) write_checksums(p.dir, out);
  out.result(std::move(result));
}

/// "5GB", "500MB" or a number of bytes; decimal units, as the hub counts.
std::uint64_t parse_size(std::string const& text) {
  std::uint64_t number = 0;
  auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view const unit{end, static_cast<std::size_t>(text.data() + text.size() - end)};
  std::uint64_t const factor = unit == "GB"   ? 1'000'000'000
                               : unit == "MB" ? 1'000'000
                               : unit == "KB" ? 1'000
                               : unit.empty() ? 1
                                              : 0;
  if (code != std::errc{} || factor == 0 || number == 0 || number > (std::uint64_t{1} << 60) / factor)
    throw CLI::ValidationError{"--shard-size", "'" + text + "' is no size, such as 5GB"};
  return number * factor;
}

/// The plan with the options of the command line, which are written down with it.
cull::pruning_plan read_plan(apply_verb_options const& o) {
  auto plan = cull::load_plan(o.plan);
  if (!o.shard_size.empty()) plan.shard_bytes = parse_size(o.shard_size);
  if (!o.input_scale.empty()) plan.input_scales = cull::parse_input_scales(o.input_scale);
  return plan;
}

void tell_lost_scales(cull::checkpoint const& model, cull::pruning_plan const& plan, console const& out) {
  auto const lost = cull::lost_input_scales(model, cull::keep_sets(model, plan));
  if (lost.empty()) return;
  auto const& worst = *std::max_element(lost.begin(), lost.end(), [](auto const& a, auto const& b) {
    return std::fabs(std::log(a.before / a.after)) < std::fabs(std::log(b.before / b.after));
  });
  char text[256];
  std::snprintf(text, sizeof text,
                "widest input scale goes with a dropped expert in %zu places, "
                "most in layer %d %s: %.6g -> %.6g; ",
                lost.size(), worst.layer, worst.tensor.c_str(), static_cast<double>(worst.before),
                static_cast<double>(worst.after));
  out.note(std::string{text} + (plan.input_scales == cull::input_scales::max ? "every expert is given the former maximum"
                                                                             : "--input-scale max keeps it for all"));
}

json ledger_json(cull::ledger const& ledger) {
  json rows = json::array();
  for (auto const& r : ledger.rows) rows.push_back({{"role", r.role}, {"tensors", r.tensors}, {"bytes", r.bytes}});
  return rows;
}

/// What would be written, and nothing else.
void show_plan(cull::checkpoint const& model, cull::pruning_plan const& plan, std::string const& dir, console const& out) {
  auto const [job, after] = cull::prepare(model, plan);
  auto const before = model.ledger();
  out.say(left("role", 18) + right("bytes before", 16) + right("bytes after", 16));
  for (auto const& row : before.rows) {
    auto const found = std::find_if(after.rows.begin(), after.rows.end(), [&](auto const& r) { return r.role == row.role; });
    out.say(left(row.role, 18) + right(std::to_string(row.bytes), 16) +
            right(std::to_string(found == after.rows.end() ? 0 : found->bytes), 16));
  }
  out.say(left("all tensors", 18) + right(std::to_string(before.bytes), 16) + right(std::to_string(after.bytes), 16));
  out.say("");
  out.say(left("file", 44) + right("bytes", 16) + right("ranges", 10));
  json files = json::array();
  for (auto const* const list : {&job.shards, &job.others}) {
    for (auto const& file : *list) {
      out.say(left(file.name, 44) + right(std::to_string(file.size), 16) + right(std::to_string(file.pieces.size()), 10));
      files.push_back({{"name", file.name}, {"bytes", file.size}, {"ranges", file.pieces.size()}});
    }
  }
  auto const manifest = job.manifest_bytes(), bytes = job.bytes() + manifest;
  out.say(left(cull::manifest_file_name, 44) + right(std::to_string(manifest), 16));
  files.push_back({{"name", cull::manifest_file_name}, {"bytes", manifest}});
  std::error_code none;
  auto const parent = std::filesystem::absolute(dir).parent_path();
  auto const room = std::filesystem::space(parent, none).available;
  out.say("plan " + job.digest() + ": " + std::to_string(bytes) + " bytes to write, " + std::to_string(room) + " are free in " +
          parent.string());
  out.result({{"dry_run", true},
              {"digest", job.digest()},
              {"bytes", bytes},
              {"free", room},
              {"files", files},
              {"before", ledger_json(before)},
              {"after", ledger_json(after)}});
}

void apply(apply_verb_options const& o, kit_options const& kit, console const& out) {
  auto const model = open_model(o.model, o.choice);
  auto const plan = read_plan(o);
  tell_lost_scales(model, plan, out);
  if (o.dry_run) {
    show_plan(model, plan, o.dir, out);
    if (kit.wanted || o.hash == "sha256") out.note("what --kit and --hash sha256 add is made from the files and not counted");
    return;
  }
  bool const sha256 = o.hash == "sha256";
  kit::contents made;
  progress_line line{"MB", 1e6};
  cull::apply_options options{.progress =
                                  [&](std::uint64_t done, std::uint64_t total) {
                                    if (!stopped())
                                      line("apply", static_cast<std::int64_t>(done), static_cast<std::int64_t>(total));
                                  },
                              .cancelled = stopped,
                              .threads = o.threads,
                              .cache = o.direct ? cull::caching::bypass : cull::caching::use,
                              .resume = o.paranoid ? cull::resume_check::digest : cull::resume_check::size,
                              .digest = sha256 ? sha256_maker() : cull::digest_maker{}};
  // Before the output has its name: whatever stops them, the same command goes on.
  if (kit.wanted) options.additions.push_back(kit_adder(model, plan, {o.model, o.plan, o.dir, o.choice}, kit, made, out));
  if (sha256) {
    options.additions.push_back({{cull::sha256_file_name}, [&](std::filesystem::path const& dir, auto const& known) {
                                   return std::vector{make_checksums(dir, o.threads, known)};
                                 }});
  }
  auto const report = cull::apply(model, plan, o.dir, options);
  for (auto const& name : report.left_behind) out.note("left behind, not part of the model: " + name);
  if (report.resumed > 0) out.say(std::to_string(report.resumed) + " files were there from an interrupted run");
  out.say("wrote " + std::to_string(report.files.size()) + " files, " + megabytes(report.bytes) + ", to " + o.dir);
  json files = json::array();
  for (auto const& f : report.files) files.push_back({{"name", f.name}, {"bytes", f.bytes}, {"xxh128", f.xxh128}});
  json result{{"out", o.dir},
              {"bytes", report.bytes},
              {"resumed", report.resumed},
              {"files", files},
              {"left_behind", report.left_behind}};
  if (kit.wanted) result["kit"] = tell_kit(made, out);
  if (sha256) {
    tell_checksums(out);
    result["checksums"] = cull::sha256_file_name;
  }
  out.result(result);
}

}  // namespace

void add_apply(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "apply", "Write the pruned checkpoint; goes on where an interrupted run stopped",
                              "cull apply GLM-5.2-NVFP4 plan.json --out GLM-5.2-NVFP4-168");
  auto const o = std::make_shared<apply_verb_options>();
  verb->add_option("MODEL", o->model, "directory of the model")->required();
  verb->add_option("PLAN", o->plan, "plan file")->required();
  verb->add_option("--out", o->dir, "new directory to write")->required();
  verb->add_flag("--dry-run", o->dry_run, "show what would be written, to the byte, and write nothing");
  verb->add_option("--shard-size", o->shard_size,
                   "most bytes of tensors in a shard, such as 5GB (default: "
                   "the source's shards)");
  verb->add_option("--input-scale", o->input_scale,
                   "scales of activations: keep each expert's (default), or "
                   "max, the layer's before pruning")
      ->check(CLI::IsMember({"keep", "max"}));
  verb->add_option("--threads", o->threads, "shards written side by side (0: up to 4, as the machine has)")
      ->check(CLI::Range(0, 256));
  verb->add_option("--hash", o->hash,
                   "digests of the written files: xxh128, in the manifest (default), or sha256 too, in SHA256SUMS, as `sha256sum "
                   "-c` reads it")
      ->check(CLI::IsMember({"xxh128", "sha256"}));
  verb->add_flag("--direct", o->direct,
                 "write shards past the page cache, where the file system can: less work for the processor, which pays on a busy "
                 "machine and costs on a quiet one");
  verb->add_flag("--paranoid", o->paranoid, "going on: read and digest again what an interrupted run had finished");
  add_model_options(*verb, o->choice);
  auto const kit = std::make_shared<kit_options>();
  verb->add_flag("--kit", kit->wanted, "add card, compose file for vLLM, sampling defaults, report");
  kit->add_to(*verb);
  verb->callback([=, &out, &run] {
    if (!o->shard_size.empty()) parse_size(o->shard_size);
    if (o->hash == "sha256") require_sha256();
    if (!kit->wanted && (!kit->evidence.empty() || kit->keep_sampling)) throw CLI::RequiredError{"--kit"};
    run = [=, &out] { apply(*o, *kit, out); };
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
  add_model_options(*verb, p->choice);
  kit->add_to(*verb);
  verb->callback([=, &out, &run] { run = [=, &out] { kit_alone(*p, *kit, out); }; });
}

}  // namespace program
