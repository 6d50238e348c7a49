// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include <cull/checkpoint/index.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Files of a model that a pruned one must have byte for byte, by their paths in its directory: all that can be read and is not
/// hidden, neither weights nor made anew. Worked out for `verify` by another walk than `apply`'s.
inline std::set<std::string> files_taken_over(std::filesystem::path const& model) {
  static std::set<std::string> const weights{".safetensors", ".bin", ".pt", ".pth", ".gguf"};
  static std::set<std::string> const made_anew{"config.json", "hf_quant_config.json", index_file_name, plan_file_name,
                                               manifest_file_name};
  std::set<std::string> out;
  std::filesystem::recursive_directory_iterator at{model};
  for (; at != end(at); ++at) {
    std::error_code unreadable;  // a link to nothing or to itself
    bool const hidden = at->path().filename().string().starts_with('.');
    if (hidden && at->is_directory(unreadable)) at.disable_recursion_pending();
    if (hidden || !at->is_regular_file(unreadable) || weights.contains(at->path().extension().string())) continue;
    auto const name = at->path().lexically_relative(model).generic_string();
    if (!made_anew.contains(name)) out.insert(name);
  }
  return out;
}

}  // namespace detail
CULL_NAMESPACE_END
