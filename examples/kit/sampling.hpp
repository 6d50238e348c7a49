// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kit {

/// What an engine should sample with by default. No repetition penalty above 1.0: it lowers the tokens that end a thought, code
/// and tool calls, which have all been written before.
struct sampling_defaults {
  double temperature = 0.6;
  double top_p = 0.95;
  double repetition_penalty = 1.0;
};

struct sampling_config {
  std::string text;                     ///< generation_config.json
  std::vector<std::string> notes = {};  ///< a sentence for each value of the source that is not kept
  bool changed = false;                 ///< false: the source's file says all of it already
};

/// The source's generation_config.json with the defaults set; every other key stays as it is. Throws cull::error.
sampling_config with_sampling(std::filesystem::path const& source_dir, sampling_defaults const& wanted);

}  // namespace kit
