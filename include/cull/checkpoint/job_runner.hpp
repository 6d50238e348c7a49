// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/added_file.hpp>
#include <cull/checkpoint/byte_digest.hpp>
#include <cull/checkpoint/job_file_writer.hpp>
#include <cull/checkpoint/journal.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/side_by_side.hpp>
#include <cull/checkpoint/write_job.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// What is believed of files that an interrupted run had finished: that they are there with their size, or nothing that reading
/// and hashing them again does not show.
enum class resume_check { size, digest };

struct apply_options {
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};  ///< in bytes; one call at a time
  std::function<bool()> cancelled = {};                                        ///< asked before each range and every 4 MiB
  int threads = 0;               ///< shards written side by side; 0: up to 4, as the machine has
  caching cache = caching::use;  ///< of written shards; to bypass it spares the processor, where the file system can
  resume_check resume = resume_check::size;
  digest_maker digest = {};  ///< of each written file, worked out on the way, beside XXH128; for `apply_report::digests`
  /// What goes with the output and is no part of the model, made one after another when everything else is written and the
  /// output has not got its name yet; each sees a complete checkpoint with what the others added. As `add_files`.
  /// Their room is not reckoned with.
  std::vector<file_adder> additions = {};
};

struct apply_report {
  std::vector<written_file> files;  ///< all of the directory, manifest included
  std::uint64_t bytes = 0;
  std::int64_t resumed = 0;  ///< files that an interrupted run had finished
  std::vector<std::string> left_behind;
  std::vector<std::string> added = {};  ///< of the files, what `apply_options::additions` made
  /// By XXH128, what `apply_options::digest` gave for the files that this call wrote; an interrupted run's are not among them.
  std::map<std::string, std::string> digests = {};
};

namespace detail {

/// Writes the files of a job into a directory.
template <checkpoint_io Io>
class job_runner {
 public:
  job_runner(Io& io, write_job const& job, std::filesystem::path dir, apply_options const& options, journal<Io>& log)
      : io_(io), job_(job), dir_(std::move(dir)), options_(options), log_(log), total_(job.bytes()) {}

  /// Digests in the job's order.
  std::vector<written_file> run() {
    find_finished();
    check_space();
    files_.resize(job_.shards.size() + job_.others.size());
    write_shards();
    copy_buffer buffer;
    for (std::size_t i = 0; i < job_.others.size(); ++i)
      make(job_.others[i], files_[job_.shards.size() + i], buffer, caching::use);
    return std::move(files_);
  }
  std::map<std::string, std::string> take_digests() { return std::move(digests_); }
  std::int64_t resumed() const { return static_cast<std::int64_t>(finished_.size()); }

 private:
  template <class Use>
  void each_file(Use&& use) const {
    for (auto const& file : job_.shards) use(file);
    for (auto const& file : job_.others) use(file);
  }

  /// Of the files in the journal, those that are there. What else an interrupted run left makes room.
  void find_finished() {
    each_file([&](job_file const& file) {
      auto const known = log_.finished().find(file.name);
      if (known != log_.finished().end() && known->second.bytes == file.size && is_there(file, known->second))
        finished_.insert(file.name);
      io_.remove(output_file<Io>::partial_of(dir_ / file.name));
    });
  }
  bool is_there(job_file const& file, written_file const& known) {
    auto const path = dir_ / file.name;
    if (is_absent(io_, path)) return false;
    auto const status = examine(io_, path);
    if (status.type != file_status::kind::regular || status.size != file.size) return false;
    return options_.resume == resume_check::size || digest_again(path, file.size) == known.xxh128;
  }
  std::string digest_again(std::filesystem::path const& path, std::uint64_t size) {
    io_file<Io> const file{io_, uninterrupted([&] { return io_.open_read(path); }), path, "cannot be opened for reading"};
    copy_buffer const buffer;
    hasher hash;
    for (std::uint64_t at = 0; at < size;) {
      auto const part = buffer.bytes().first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size, size - at)));
      file.read(at, part);
      hash.append(part);
      at += part.size();
      advance(0);
    }
    return hash.hex();
  }

  void check_space() const {
    auto needed = job_.manifest_bytes();
    each_file([&](job_file const& file) { needed += finished_.contains(file.name) ? 0 : file.size; });
    auto const room = io_.free_space(dir_);
    if (room.error != 0 || static_cast<std::uint64_t>(room.value) >= needed) return;
    auto const missing = needed - static_cast<std::uint64_t>(room.value);
    throw error{errc::no_space,
                "needs " + std::to_string(needed) + " bytes, " + std::to_string(room.value) +
                    " are free: " + std::to_string(missing) + " are missing; nothing was written",
                {.file = dir_.string()}};
  }

  std::size_t threads() const {
    // Makers may share what they have worked out, and use threads of their own.
    if (!job_.makers.empty()) return 1;
    return std::clamp<std::size_t>(threads_or_default(options_.threads), 1, std::max<std::size_t>(1, job_.shards.size()));
  }

  /// Each thread takes the next shard; the first problem stops all.
  void write_shards() {
    std::atomic<std::size_t> next{0};
    std::exception_ptr problem;
    auto const work = [&] {
      try {
        copy_buffer buffer;
        for (std::size_t i = next++; i < job_.shards.size() && !stop_; i = next++)
          make(job_.shards[i], files_[i], buffer, options_.cache);
      } catch (...) {
        std::lock_guard const guard{mutex_};
        if (!problem) problem = std::current_exception();
        stop_ = true;
      }
    };
    side_by_side(threads(), work);
    if (problem) std::rethrow_exception(problem);
  }

  void make(job_file const& file, written_file& result, copy_buffer& buffer, caching cache) {
    if (finished_.contains(file.name)) {
      result = log_.finished().at(file.name);
      advance(file.size);
      return;
    }
    auto const path = dir_ / file.name;
    make_folders(std::filesystem::path{file.name}.parent_path());
    output_file<Io> out{io_, path, overwrite::yes};
    typename job_file_writer<Io>::step const step = [this](std::uint64_t size) { advance(size); };
    auto const second = options_.digest ? options_.digest() : nullptr;
    result = {file.name, file.size, job_file_writer<Io>{io_, job_, file, out, buffer, step}.write(cache, second.get())};
    out.publish();
    std::lock_guard const guard{mutex_};
    log_.add(result);
    if (second) digests_.emplace(result.xxh128, second->hex());
  }
  void make_folders(std::filesystem::path const& folder) {
    if (folder.empty()) return;
    make_folders(folder.parent_path());
    auto const made = io_.make_directory(dir_ / folder);
    if (made.error == EEXIST) return;
    if (made.error != 0) throw_io(made.error, "cannot be created", dir_ / folder);
    sync_directory(io_, (dir_ / folder).parent_path());
  }

  void advance(std::uint64_t size) {
    std::lock_guard const guard{mutex_};
    if (stop_) throw error{errc::cancelled, "stopped because of a problem with another file"};
    if (options_.cancelled && options_.cancelled())
      throw error{errc::cancelled, "stopped; the same command goes on from here", {.file = dir_.string()}};
    done_ += size;
    if (size > 0 && options_.progress) options_.progress(done_, total_);
  }

  Io& io_;
  write_job const& job_;
  std::filesystem::path dir_;
  apply_options const& options_;
  journal<Io>& log_;
  std::uint64_t total_;
  std::set<std::string> finished_;
  std::vector<written_file> files_;
  std::map<std::string, std::string> digests_;
  std::mutex mutex_;
  std::atomic<bool> stop_{false};
  std::uint64_t done_ = 0;
};

}  // namespace detail

CULL_NAMESPACE_END
