// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dirent.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// What is in a directory, in no order. Not by directory_iterator: libstdc++'s ends the program where memory ends.
inline std::vector<std::string> names_in(std::filesystem::path const& dir) {
  struct closer {
    void operator()(DIR* handle) const { ::closedir(handle); }
  };
  std::unique_ptr<DIR, closer> const handle{::opendir(dir.c_str())};
  if (!handle) throw_errno("cannot be listed", dir);
  std::vector<std::string> out;
  for (errno = 0; auto const* const entry = ::readdir(handle.get()); errno = 0) {
    std::string_view const name = entry->d_name;
    if (name != "." && name != "..") out.emplace_back(name);
  }
  if (errno != 0) throw_errno("cannot be listed", dir);
  return out;
}

}  // namespace detail
CULL_NAMESPACE_END
