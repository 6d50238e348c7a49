// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <charconv>
#include <cmath>
#include <filesystem>

namespace program {

void add_model_options(CLI::App& verb, model_choice& choice) {
  verb.add_option("--family", choice.family, "descriptor (JSON) of the model's family, instead of the known one");
  std::vector<std::string> names;
  for (auto const& known : cull::leniency_names) names.emplace_back(known.text);
  verb.add_option("--allow", choice.allowed, "what a strict reader refuses and this model has; see docs/malformed.md")
      ->check(CLI::IsMember(names))
      ->allow_extra_args(false);
  verb.add_flag("--adopt-unindexed", choice.adopt_unindexed, "take tensors that the index omits, as --allow adopt-unindexed");
}

cull::checkpoint open_model(std::string const& dir, model_choice const& choice) {
  cull::open_options options;
  if (!choice.family.empty()) options.family = cull::load_family(choice.family);
  for (auto const& name : choice.allowed) cull::allow(options.allowed, name);
  options.allowed.adopt_unindexed |= choice.adopt_unindexed;
  return cull::checkpoint::open(dir, options);
}

void run_options::add_to(CLI::App& verb) {
  verb.add_option("--threads", threads, "threads to use (0: as many as the machine has); the result does not depend on it")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  verb.add_option("--batch-tokens", batch_tokens,
                  "most tokens taken through a layer at once (0: all); the result does not depend on it")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  verb.add_option("--precision", precision, "activations in products: f32, or bf16 as the model itself has them")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
}

CLI::App* add_verb(CLI::App& app, console& out, std::string const& name, std::string const& does, std::string const& example) {
  auto* const verb = app.add_subcommand(name, does);
  verb->add_flag("--json", out.as_json, "print one JSON object instead of text");
  verb->add_option("--json-out", out.json_file, "write that object to this file as well");
  verb->footer("Example:\n  " + example);
  return verb;
}

void output_options::add_to(CLI::App& verb, std::string const& what) {
  verb.add_option("--out", path, what)->required();
  verb.add_flag("--force", force, "replace the file if it exists");
}

void output_options::check() const {
  namespace fs = std::filesystem;
  if (!force && fs::exists(fs::symlink_status(path))) {
    throw cull::error{cull::errc::already_exists, "exists; choose another name or give --force", {.file = path}};
  }
  auto const parent = fs::path{path}.parent_path();
  if (!parent.empty() && !fs::is_directory(parent)) {
    throw cull::error{cull::errc::not_found, "there is no such directory to write into", {.file = parent.string()}};
  }
}

engine::emphasis parse_emphasis(std::string const& text) {
  engine::emphasis out;
  auto const* at = text.data();
  auto const* const end = at + text.size();
  auto const take = [&](auto& value, char after) {
    auto const [next, code] = std::from_chars(at, end, value);
    bool const good = code == std::errc{} && (after == '\0' ? next == end : next != end && *next == after);
    at = good && after != '\0' ? next + 1 : next;
    return good;
  };
  if (!take(out.token, ':') || !take(out.radius, ':') || !take(out.weight, '\0') || out.token < 0 || out.radius < 0 ||
      !std::isfinite(out.weight) || out.weight < 0) {
    throw CLI::ValidationError{"--emphasize", "'" + text + "' is not TOKEN:RADIUS:WEIGHT, such as 262:16:6"};
  }
  return out;
}

std::vector<engine::sequence> read_data(std::vector<std::string> const& files, std::vector<std::string> const& emphases,
                                        std::int64_t vocabulary) {
  std::vector<engine::emphasis> marks;
  for (auto const& text : emphases) marks.push_back(parse_emphasis(text));
  std::vector<engine::sequence> out;
  for (auto const& file : files) {
    for (auto& each : engine::read_sequences(file, vocabulary)) {
      for (auto const& mark : marks) engine::emphasize(each, mark);
      out.push_back(std::move(each));
    }
  }
  if (out.empty()) throw cull::error{cull::errc::bad_sequence, "there is no sequence in the data"};
  return out;
}

}  // namespace program
