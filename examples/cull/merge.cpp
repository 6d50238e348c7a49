// SPDX-License-Identifier: Apache-2.0
#include "observations.hpp"
#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

template <class Observation>
void merge_as(std::vector<std::string> const& files, output_options const& output, console const& out) {
  auto total = cull::load_observation<Observation>(files.front());
  for (std::size_t i = 1; i < files.size(); ++i) total = merged(total, cull::load_observation<Observation>(files[i]), files[i]);
  cull::save(total, output.path, output.policy());
  auto const sequences = total.provenance().sequences.size();
  out.say("merged " + std::to_string(files.size()) + " observations of " + std::to_string(sequences) + " sequences into " +
          output.path);
  out.result({{"observations", files.size()}, {"sequences", sequences}, {"out", output.path}});
}

/// What all files hold is merged.
void merge(std::vector<std::string> const& files, output_options const& output, console const& out) {
  output.check();
  if (have_block_measures(files)) {
    merge_as<cull::block_observation>(files, output, out);
  } else {
    merge_as<cull::default_observation>(files, output, out);
  }
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
