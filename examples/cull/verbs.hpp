// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "console.hpp"

namespace program {

/// What a parsed command line does; set by the verb that was named.
using action = std::function<void()>;

// Each adds its verb with its options and examples; see `cull <verb> --help`.
void add_inspect(CLI::App& app, console& out, action& run);
void add_calibrate(CLI::App& app, console& out, action& run);
void add_merge(CLI::App& app, console& out, action& run);
void add_plan(CLI::App& app, console& out, action& run);
void add_compare(CLI::App& app, console& out, action& run);
void add_apply(CLI::App& app, console& out, action& run);
void add_verify(CLI::App& app, console& out, action& run);
void add_convert(CLI::App& app, console& out, action& run);
void add_eval(CLI::App& app, console& out, action& run);
void add_generate(CLI::App& app, console& out, action& run);
void add_report(CLI::App& app, console& out, action& run);
void add_kit(CLI::App& app, console& out, action& run);

}  // namespace program
