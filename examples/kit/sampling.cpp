// SPDX-License-Identifier: Apache-2.0
#include "sampling.hpp"

#include <cull/checkpoint.hpp>
#include <nlohmann/json.hpp>
#include <utility>

namespace kit {

sampling_config with_sampling(std::filesystem::path const& source_dir, sampling_defaults const& wanted) {
  using json = nlohmann::ordered_json;
  auto root = json::object();
  auto const path = source_dir / cull::generation_config_name;
  if (std::filesystem::exists(path)) {
    auto const text = cull::detail::read_text(path);
    cull::detail::parse_json(text, path.string());  // says what is wrong with it, and where
    root = json::parse(text);
    if (!root.is_object()) throw cull::error{cull::errc::bad_config, "is not an object", {.file = path.string()}};
  }
  sampling_config out;
  std::pair<char const*, json> const defaults[] = {{"do_sample", true},
                                                   {"temperature", wanted.temperature},
                                                   {"top_p", wanted.top_p},
                                                   {"repetition_penalty", wanted.repetition_penalty}};
  for (auto const& [key, value] : defaults) {
    if (root.contains(key) && root.at(key) == value) continue;
    if (root.contains(key))
      out.notes.push_back(std::string{key} + " is " + root.at(key).dump() + " in the base and " + value.dump() + " here");
    root[key] = value;
    out.changed = true;
  }
  out.text = root.dump(2) + "\n";
  return out;
}

}  // namespace kit
