// SPDX-License-Identifier: Apache-2.0
#include "console.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>

#include <cull/checkpoint/output_file.hpp>
#include <cull/error.hpp>

namespace program {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

extern "C" void on_signal(int number) {
  // A second signal ends the program at once.
  std::signal(number, SIG_DFL);
  stop_requested = 1;
}

std::string duration(double seconds) {
  auto const s = static_cast<std::int64_t>(seconds + 0.5);
  if (s >= 3600) return std::to_string(s / 3600) + " h " + std::to_string(s / 60 % 60) + " min";
  return s >= 60 ? std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s" : std::to_string(s) + " s";
}

}  // namespace

// Lines hold names from files, which no terminal shall obey.
void console::say(std::string const& line) const {
  if (!as_json) std::cout << cull::printable(line, line.npos) << '\n';
}
void console::result(json const& object) const {
  if (!as_json && json_file.empty()) return;
  auto const text = object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  if (as_json) std::cout << text;
  if (!json_file.empty()) cull::write_file(json_file, text, cull::overwrite::yes);
}
void console::note(std::string const& line) const { std::cerr << cull::printable(line, line.npos) << '\n'; }

std::string command_line(int argc, char const* const* argv) {
  std::string out = "cull";
  for (int i = 1; i < argc; ++i) {
    std::string_view const word = argv[i];
    bool const plain =
        !word.empty() &&
        word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+@%") == word.npos;
    out += ' ';
    if (plain) {
      out += word;
      continue;
    }
    out += '\'';
    for (char const c : word) out += c == '\'' ? std::string{"'\\''"} : std::string{c};
    out += '\'';
  }
  return out;
}

bool stopped() { return stop_requested != 0; }
void catch_signals() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

progress_line::progress_line(std::string unit, double per_unit)
    : unit_(std::move(unit)), per_unit_(per_unit), visible_(::isatty(STDERR_FILENO) == 1) {}

progress_line::~progress_line() {
  if (drawn_) std::cerr << "\r\033[K" << std::flush;
}

void progress_line::operator()(std::string_view stage, std::int64_t done, std::int64_t total) {
  if (stopped()) throw cull::error{cull::errc::cancelled, "stopped on request"};
  if (!visible_) return;
  auto const now = clock::now();
  if (stage != stage_) {
    stage_ = stage;
    begin_ = now;
  } else if (now - last_ < std::chrono::milliseconds{100}) {
    return;
  }
  last_ = now;
  drawn_ = true;
  double const seconds = std::chrono::duration<double>(now - begin_).count();
  double const rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string line = stage_ + "  " + fixed(static_cast<double>(done) / per_unit_, 0);
  if (total > 0) line += " of " + fixed(static_cast<double>(total) / per_unit_, 0);
  line += " " + unit_;
  if (rate > 0) line += "  " + fixed(rate / per_unit_, 1) + " " + unit_ + "/s";
  if (rate > 0 && total > done) line += "  " + duration(static_cast<double>(total - done) / rate) + " left";
  std::cerr << "\r\033[K" << line << std::flush;
}

std::string megabytes(std::uint64_t bytes) {
  if (bytes >= 1'000'000'000) return fixed(static_cast<double>(bytes) / 1e9, 2) + " GB";
  return fixed(static_cast<double>(bytes) / 1e6, 2) + " MB";
}
std::string left(std::string text, std::size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}
std::string right(std::string text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}
std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace program
