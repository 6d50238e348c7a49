// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <utility>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/mapped_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Which files of an output are finished, so that an interrupted job can go on. One line per file, with a checksum of the line; a
/// line that a crash cut short counts for nothing. Holds a lock: two jobs never write one directory.
class journal {
 public:
  /// `job`: digest of everything the output depends on. Throws `errc::already_exists` (another job is at work, or the directory
  /// was begun with another plan), `errc::io`.
  journal(std::filesystem::path path, std::string const& job) : path_(std::move(path)) {
    fd_ = descriptor{::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666)};
    if (fd_.get() < 0) throw_errno("cannot be opened", path_);
    if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
      throw error{errc::already_exists, "another process is writing this directory", {.file = path_.string()}};
    }
    read(job);
    if (!has_job_) append(job);
  }

  std::map<std::string, written_file> const& finished() const { return finished_; }

  void add(written_file const& file) { append(file.xxh128 + ' ' + std::to_string(file.bytes) + ' ' + file.name); }

 private:
  void read(std::string const& job) {
    std::istringstream lines{read_text(path_)};
    for (std::string line; std::getline(lines, line);) {
      if (line.size() < 34 || hex_digest(std::as_bytes(std::span{line}.subspan(33))) != line.substr(0, 32)) continue;
      take(line.substr(33), job);
    }
  }
  void take(std::string const& text, std::string const& job) {
    if (!has_job_) {
      if (text != job) {
        throw error{errc::already_exists,
                    "was begun with another plan, model or version; remove this directory to start again",
                    {.file = path_.parent_path().string()}};
      }
      has_job_ = true;
      return;
    }
    std::istringstream fields{text};
    written_file file;
    if (fields >> file.xxh128 >> file.bytes && fields.get() == ' ' && std::getline(fields, file.name))
      finished_[file.name] = file;
  }
  void append(std::string const& text) {
    // A newline first ends whatever a crash left.
    auto const line = "\n" + hex_digest(std::as_bytes(std::span{text})) + ' ' + text + "\n";
    if (::write(fd_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) || ::fdatasync(fd_.get()) != 0) {
      throw_errno("cannot be written", path_);
    }
  }

  std::filesystem::path path_;
  descriptor fd_;
  bool has_job_ = false;
  std::map<std::string, written_file> finished_;
};

}  // namespace detail
CULL_NAMESPACE_END
