// SPDX-License-Identifier: Apache-2.0
// The program `cull`: verbs over the library. Exit status 0: done, 1: failed, 2: wrong use.
#include <exception>
#include <iostream>

#include <cull/error.hpp>

#include "verbs.hpp"

namespace {

int wrong_use(CLI::App const& app, CLI::ParseError const& problem) {
  std::cerr << "cull: " << cull::printable(problem.what(), std::string_view::npos) << "\nTry '" << app.get_name();
  for (auto const* verb : app.get_subcommands()) std::cerr << ' ' << verb->get_name();
  std::cerr << " --help'.\n";
  return 2;
}

/// A first word that is no verb, as wrong use: CLI11 would say only that one is missing.
void check_verb(CLI::App const& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::string known;
  for (auto const* verb : app.get_subcommands({})) {
    if (verb->get_name() == argv[1]) return;
    known += (known.empty() ? "" : ", ") + verb->get_name();
  }
  throw CLI::ExtrasError{"no verb '" + cull::printable(argv[1]) + "'; there are " + known, CLI::ExitCodes::ExtrasError};
}

int failed(program::console const& out, std::string const& what, program::json details = program::json::object()) {
  std::cerr << "cull: " << cull::printable(what, what.npos) << '\n';
  details["error"] = what;
  out.result(details);
  return 1;
}

/// What a program that calls cull wants to know of an error.
program::json details_of(cull::error const& problem) {
  auto const& where = problem.where();
  program::json out{{"code", cull::name(problem.code())}};
  if (!where.file.empty()) out["file"] = cull::printable(where.file);
  if (!where.tensor.empty()) out["tensor"] = cull::printable(where.tensor);
  if (where.byte) out["byte"] = *where.byte;
  if (!where.json_pointer.empty()) out["json_pointer"] = cull::printable(where.json_pointer);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  program::console out{.command = program::command_line(argc, argv)};
  program::action run;
  CLI::App app{"cull: prune the experts of Mixture-of-Experts models stored in NVFP4, byte for byte", "cull"};
  app.set_version_flag("--version", std::string{"cull "} + cull::version_string);
  app.require_subcommand(1);
  app.footer(
      "The way: inspect -> calibrate -> plan -> apply -> verify -> eval -> report. Each verb has an example under --help.");
  for (auto const add : {program::add_inspect, program::add_calibrate, program::add_merge, program::add_plan,
                         program::add_compare, program::add_apply, program::add_verify, program::add_convert, program::add_eval,
                         program::add_generate, program::add_report, program::add_kit}) {
    add(app, out, run);
  }
  try {
    check_verb(app, argc, argv);
    app.parse(argc, argv);
    program::catch_signals();
    run();
    std::cout.flush();
    if (!std::cout) return failed(out, "standard output cannot be written");
    return 0;
  } catch (CLI::RuntimeError const& problem) {
    return problem.get_exit_code();  // a verb that has said all it has to
  } catch (CLI::ParseError const& problem) {
    return problem.get_exit_code() == 0 ? app.exit(problem) : wrong_use(app, problem);
  } catch (std::bad_alloc const&) {
    return failed(out, "not enough memory; a smaller --batch-tokens needs less");
  } catch (cull::error const& problem) {
    return failed(out, problem.what(), details_of(problem));
  } catch (std::exception const& problem) {
    return failed(out, problem.what());
  }
}
