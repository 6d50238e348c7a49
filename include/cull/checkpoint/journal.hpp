// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <utility>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/io/io_file.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

inline constexpr char journal_file_name[] = ".cull-journal";

[[noreturn]] inline void refuse_other_job(std::filesystem::path const& dir) {
  throw error{errc::already_exists,
              "was begun with another plan, model or version, or the model has changed; remove this directory to start again",
              {.file = dir.string()}};
}

/// Which files of an output are finished, so that an interrupted job can go on. One line per file, with a checksum of the line; a
/// line that a crash cut short counts for nothing. A line is durable before the next file may be finished.
template <checkpoint_io Io>
class journal {
 public:
  /// `job`: digest of everything the output depends on. Throws `errc::already_exists` (the directory was begun with another job),
  /// `errc::io`.
  journal(Io& io, std::filesystem::path const& dir, std::string const& job)
      : dir_(dir),
        file_(io, uninterrupted([&] { return io.open_log(dir / journal_file_name); }), dir / journal_file_name,
              "cannot be opened") {
    read(job);
    if (!has_job_) append(job_tag + job);
  }

  std::map<std::string, written_file> const& finished() const { return finished_; }
  /// Files that may be there and are no part of the job.
  std::set<std::string> const& added() const { return added_; }
  int handle() const { return file_.handle(); }

  void add(written_file const& file) { append(file_tag + file.xxh128 + ' ' + std::to_string(file.bytes) + ' ' + file.name); }
  /// Before such a file is written. One of the job that it replaces is finished no more.
  void note_addition(std::string const& name) { append(addition_tag + name); }

 private:
  static inline std::string const job_tag = "job ", file_tag = "file ", addition_tag = "added ";

  void read(std::string const& job) {
    std::string text(static_cast<std::size_t>(file_.examine().size), '\0');
    file_.read(0, std::as_writable_bytes(std::span{text}));
    end_ = text.size();
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);) {
      if (line.size() < 34 || hex_digest(std::as_bytes(std::span{line}.subspan(33))) != line.substr(0, 32)) continue;
      take(line.substr(33), job);
    }
  }
  /// Files count from the line of the job on.
  void take(std::string const& text, std::string const& job) {
    if (text.starts_with(job_tag)) {
      has_job_ = true;
      if (text.substr(job_tag.size()) == job) return;
      refuse_other_job(dir_);
    }
    if (has_job_ && text.starts_with(file_tag)) take_file(text.substr(file_tag.size()));
    if (has_job_ && text.starts_with(addition_tag)) {
      added_.insert(text.substr(addition_tag.size()));
      finished_.erase(text.substr(addition_tag.size()));
    }
  }
  void take_file(std::string const& text) {
    std::istringstream fields{text};
    written_file file;
    if (!(fields >> file.xxh128 >> file.bytes) || fields.get() != ' ' || !std::getline(fields, file.name)) return;
    finished_[file.name] = file;
    added_.erase(file.name);
  }
  void append(std::string const& text) {
    // A newline first ends whatever a crash left.
    auto const line = "\n" + hex_digest(std::as_bytes(std::span{text})) + ' ' + text + "\n";
    file_.write(end_, std::as_bytes(std::span{line}));
    end_ += line.size();
    file_.sync();
  }

  std::filesystem::path dir_;
  io_file<Io> file_;
  std::uint64_t end_ = 0;
  bool has_job_ = false;
  std::map<std::string, written_file> finished_;
  std::set<std::string> added_;
};

}  // namespace detail
CULL_NAMESPACE_END
