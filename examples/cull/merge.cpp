// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

void merge(std::vector<std::string> const& files, output_options const& output, console const& out) {
  output.check();
  auto total = cull::load_observation(files.front());
  for (std::size_t i = 1; i < files.size(); ++i) {
    try {
      total = cull::merge(total, cull::load_observation(files[i]));
    } catch (cull::error const& problem) {
      if (!problem.where().file.empty()) throw;
      throw cull::error{problem.code(), problem.what(), {.file = files[i]}};
    }
  }
  cull::save(total, output.path, output.policy());
  auto const sequences = total.provenance().sequences.size();
  out.say("merged " + std::to_string(files.size()) + " observations of " + std::to_string(sequences) + " sequences into " +
          output.path);
  out.result({{"observations", files.size()}, {"sequences", sequences}, {"out", output.path}});
}

}  // namespace

void add_merge(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "merge", "Add observations exactly; a sequence in two of them is refused",
                              "cull merge host-1.safetensors host-2.safetensors --out all.safetensors");
  auto const files = std::make_shared<std::vector<std::string>>();
  auto const output = std::make_shared<output_options>();
  verb->add_option("OBS", *files, "observation files")->required();
  output->add_to(*verb, "observation file to write");
  verb->callback([=, &out, &run] { run = [=, &out] { merge(*files, *output, out); }; });
}

}  // namespace program
