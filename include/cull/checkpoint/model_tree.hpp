// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <cull/checkpoint/leniency.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Where the files of a model may lie: in its directory, or, in a cache of the Hugging Face hub (DIR is .../snapshots/REVISION,
/// whose files are links), in the cache's "blobs".
class model_tree {
 public:
  model_tree(std::filesystem::path const& dir, leniency const& allowed) : outside_links_(allowed.outside_links) {
    std::error_code problem;
    auto const root = std::filesystem::canonical(dir, problem);
    roots_.push_back(problem ? dir : root);
    for (auto at = roots_.front(); at.has_relative_path(); at = at.parent_path()) {
      if (at.parent_path().filename() == "snapshots") roots_.push_back(at.parent_path().parent_path() / "blobs");
    }
  }

  /// The same path. Throws `errc::outside_tree` where it is a link that leaves the tree, unless such are allowed.
  std::filesystem::path const& checked(std::filesystem::path const& path) const {
    std::error_code problem;
    if (outside_links_ || !std::filesystem::is_symlink(std::filesystem::symlink_status(path, problem))) return path;
    auto const real = std::filesystem::canonical(path, problem);
    if (problem) return path;  // a link to nothing or to itself: opening it says which
    bool const inside = std::any_of(roots_.begin(), roots_.end(), [&](std::filesystem::path const& root) {
      auto const from_root = real.lexically_relative(root);
      return !from_root.empty() && *from_root.begin() != "..";
    });
    if (inside) return path;
    throw error{errc::outside_tree,
                "is a link to " + real.string() + ", outside of the model's directory; allow outside-links if that is meant",
                {.file = path.string()}};
  }

 private:
  bool outside_links_;
  std::vector<std::filesystem::path> roots_;
};

}  // namespace detail
CULL_NAMESPACE_END
