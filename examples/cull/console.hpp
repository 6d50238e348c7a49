// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace program {

using json = nlohmann::ordered_json;

/// What all verbs share.
struct console {
  bool as_json = false;        ///< one object on stdout instead of text
  std::string json_file = {};  ///< where the same object goes too; empty: nowhere
  std::string command = {};    ///< as typed, for pages that say how they were made

  /// Text for people; nothing with --json.
  void say(std::string const& line) const;
  /// The verb's result, with --json, and in the file of --json-out.
  void result(json const& object) const;
  /// A remark on stderr.
  void note(std::string const& line) const;
};

/// The command as a shell would take it.
std::string command_line(int argc, char const* const* argv);

/// True after Ctrl-C or SIGTERM.
bool stopped();
void catch_signals();

/// A line on stderr with rate and time left, where stderr is a terminal.
class progress_line {
 public:
  progress_line(std::string unit, double per_unit);
  ~progress_line();
  progress_line(progress_line const&) = delete;
  progress_line& operator=(progress_line const&) = delete;

  /// Throws cull::error `cancelled` after Ctrl-C. `total` 0: not known.
  void operator()(std::string_view stage, std::int64_t done, std::int64_t total);

 private:
  using clock = std::chrono::steady_clock;
  std::string unit_;
  double per_unit_;
  bool visible_;
  bool drawn_ = false;
  std::string stage_;
  clock::time_point begin_ = clock::now(), last_{};
};

std::string megabytes(std::uint64_t bytes);
/// Text padded to a width.
std::string left(std::string text, std::size_t width);
std::string right(std::string text, std::size_t width);
/// A number with `digits` behind the point.
std::string fixed(double value, int digits);

}  // namespace program
