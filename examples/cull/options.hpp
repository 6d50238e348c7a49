// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include <cull/checkpoint.hpp>
#include <engine/dense.hpp>
#include <engine/sequences.hpp>

#include "console.hpp"

namespace program {

/// How a model is opened: --family, a descriptor for one that cull does not know or knows otherwise; --allow and
/// --adopt-unindexed, what a strict reader refuses.
struct model_choice {
  std::string family;
  std::vector<std::string> allowed;
  bool adopt_unindexed = false;
};
void add_model_options(CLI::App& verb, model_choice& choice);
cull::checkpoint open_model(std::string const& dir, model_choice const& choice);

/// How a model is run.
struct run_options {
  int threads = 0;
  std::int64_t batch_tokens = 1024;
  std::string precision = "f32";

  void add_to(CLI::App& verb);
  cull::on_cpu exec() const { return cull::on_cpu{threads}; }
  engine::precision policy() const { return precision == "bf16" ? engine::precision::bf16 : engine::precision::f32; }
};

/// A verb with what all have: --json, and examples under its help.
CLI::App* add_verb(CLI::App& app, console& out, std::string const& name, std::string const& does, std::string const& example);

/// Whether an output may replace a file.
struct output_options {
  std::string path;
  bool force = false;

  void add_to(CLI::App& verb, std::string const& what);
  cull::overwrite policy() const { return force ? cull::overwrite::yes : cull::overwrite::no; }
  /// Before long work: throws cull::error `already_exists`, `not_found` where the result could not be written.
  void check() const;
};

/// "262:16:6" as token, radius and weight.
engine::emphasis parse_emphasis(std::string const& text);

/// All sequences of some files, with emphases applied.
std::vector<engine::sequence> read_data(std::vector<std::string> const& files, std::vector<std::string> const& emphases,
                                        std::int64_t vocabulary);

}  // namespace program
