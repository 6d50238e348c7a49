// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fnmatch.h>

#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// An entry of a list of modules that are not quantised, as vLLM reads it: modelopt's hits a name that it is, is part of, or
/// matches as a shell's pattern, "X*" being "X" and "X.*" unless X is empty or ends with a dot; compressed-tensors' is the name,
/// or "re:" and a regular expression for its start.
class exclude_pattern {
 public:
  exclude_pattern(std::string entry, bool compressed) : entry_(std::move(entry)), compressed_(compressed) {
    if (compressed_ && entry_.starts_with("re:")) {
      try {
        regex_ = std::regex{entry_.substr(3), std::regex::ECMAScript};
        is_regex_ = true;
      } catch (std::regex_error const&) {
        // Python's syntax has more; such an entry is not judged.
        judged_ = false;
      }
    } else if (!compressed_ && entry_.size() >= 2 && entry_.ends_with('*') && entry_[entry_.size() - 2] != '.') {
      parts_ = {entry_.substr(0, entry_.size() - 1), entry_.substr(0, entry_.size() - 1) + ".*"};
    }
    if (parts_.empty()) parts_ = {entry_};
  }

  std::string const& text() const { return entry_; }
  /// False where it is a regular expression that is not understood, and so hits nothing.
  bool is_judged() const { return judged_; }
  /// Whether it has nothing but a name, which hits every other that it is part of.
  bool is_plain() const { return !compressed_ && entry_.find_first_of("*?[") == std::string::npos; }

  bool hits(std::string const& module) const {
    if (is_regex_) return std::regex_search(module, regex_, std::regex_constants::match_continuous);
    if (compressed_) return module == entry_;
    for (auto const& part : parts_) {
      if (part.empty()) continue;
      if (module.find(part) != std::string::npos) return true;
      // What precedes the wildcards decides for most names, and faster.
      if (module.starts_with(std::string_view{part}.substr(0, part.find_first_of("*?["))) &&
          ::fnmatch(part.c_str(), module.c_str(), FNM_NOESCAPE) == 0)
        return true;
    }
    return false;
  }

 private:
  std::string entry_;
  bool compressed_;
  std::vector<std::string> parts_;
  std::regex regex_;
  bool is_regex_ = false, judged_ = true;
};

}  // namespace detail
CULL_NAMESPACE_END
