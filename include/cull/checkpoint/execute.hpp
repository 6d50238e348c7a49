// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/add_to_directory.hpp>
#include <cull/checkpoint/added_file.hpp>
#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/job_runner.hpp>
#include <cull/checkpoint/journal.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/write_job.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The directory in which a job is done, locked against a second writer as long as this object lives.
template <checkpoint_io Io>
class work_directory {
 public:
  work_directory(Io& io, std::filesystem::path dir) : io_(io), dir_(std::move(dir)), lock_(open(io, dir_)) {
    auto const result = uninterrupted([&] { return io.lock(lock_.handle()); });
    // Network file systems cannot lock directories; the journal is locked as well.
    if (result.error == EWOULDBLOCK || examine(io, dir_).inode != lock_.examine().inode) refuse(dir_);
  }
  std::filesystem::path const& path() const { return dir_; }

  [[noreturn]] static void refuse(std::filesystem::path const& dir) {
    throw error{errc::already_exists, "another process is writing this directory", {.file = dir.string()}};
  }

 private:
  static io_file<Io> open(Io& io, std::filesystem::path const& dir) {
    auto const made = io.make_directory(dir);
    if (made.error != 0 && made.error != EEXIST) throw_io(made.error, "cannot be created", dir);
    sync_directory(io, dir.parent_path());
    return {io, uninterrupted([&] { return io.open_directory(dir); }), dir, "cannot be opened as a directory"};
  }

  Io& io_;
  std::filesystem::path dir_;
  io_file<Io> lock_;
};

template <checkpoint_io Io>
void refuse_existing(Io& io, std::filesystem::path const& out) {
  if (!is_absent(io, out))
    throw error{errc::already_exists, "exists; remove it or choose another directory", {.file = out.string()}};
}

/// A path that leads nowhere but into its own directory.
inline bool is_inside(std::string const& name) {
  std::filesystem::path const path{name};
  return !name.empty() && path.is_relative() &&
         std::none_of(path.begin(), path.end(), [](auto const& part) { return part == ".." || part == "."; });
}

/// What the manifest of a directory that has no name yet lists and the job does not write. Between the end of the journal and the
/// directory's name it alone knows. Throws `errc::already_exists` where it is another plan's.
template <checkpoint_io Io>
std::set<std::string> listed_beside(Io& io, std::filesystem::path const& dir, write_job const& job) {
  auto const path = dir / manifest_file_name;
  if (is_absent(io, path)) return {};
  auto const text = read_whole(io, path);
  json manifest;
  try {
    manifest = parse_json(text, path.string());
  } catch (error const&) {
    return {};  // none that a run has finished
  }
  if (!manifest.is_object() || !manifest.contains("files") || !manifest.at("files").is_object()) return {};
  if (manifest.contains("plan_xxh128") && manifest.at("plan_xxh128") != job.plan_digest) refuse_other_job(dir);
  auto const wanted = job.names();
  std::set<std::string> out;
  for (auto const& file : manifest.at("files").items()) {
    if (!wanted.contains(file.key()) && is_inside(file.key())) out.insert(file.key());
  }
  return out;
}

/// Removes what an interrupted run left that is not the job's: what it had added, which this one adds anew or does not want, and
/// what the manifest lists of another job.
template <checkpoint_io Io>
void remove_others(Io& io, std::filesystem::path const& dir, std::set<std::string> const& listed, journal<Io>& log) {
  // Noted before the list goes: whatever stops this, the next run knows them.
  for (auto const& name : listed) {
    if (!log.added().contains(name)) log.note_addition(name);
  }
  auto names = log.added();
  names.insert(listed.begin(), listed.end());
  auto const remove = [&](std::filesystem::path const& path) {
    auto const result = io.remove(path);
    if (result.error != 0 && result.error != ENOENT && result.error != ENOTDIR) throw_io(result.error, "cannot be removed", path);
  };
  if (!names.empty()) remove(dir / manifest_file_name);
  for (auto const& name : names) {
    remove(dir / name);
    remove(output_file<Io>::partial_of(dir / name));
  }
}

/// Throws `errc::already_exists` where something cannot be added.
inline void check_additions(write_job const& job, std::filesystem::path const& out, apply_options const& options) {
  auto const model = job.names();
  for (auto const& adder : options.additions) {
    for (auto const& name : adder.names) check_addable(name, model, out);
  }
}

/// Everything that goes with the job's files, then the manifest.
template <checkpoint_io Io>
void add_to(Io& io, std::filesystem::path const& dir, write_job const& job, apply_options const& options, journal<Io>& log,
            apply_report& report) {
  directory_additions<Io> all{io, dir, job.plan_digest, report.files, {}};
  auto manifest = all.write_manifest();
  for (auto const& adder : options.additions) {
    all.add(adder, report.digests, [&](auto const& name) { log.note_addition(name); });
    manifest = all.write_manifest();
  }
  if (!all.added().empty()) report.files = all.files();
  report.files.push_back({manifest_file_name, manifest.size(), hex_digest(std::as_bytes(std::span{manifest}))});
  report.added.assign(all.added().begin(), all.added().end());
}

/// The end of the journal, durable before the directory gets its name.
template <checkpoint_io Io>
void finish(Io& io, work_directory<Io> const& work, std::filesystem::path const& out) {
  auto const journal = work.path() / journal_file_name;
  if (auto const result = io.remove(journal); result.error != 0) throw_io(result.error, "cannot be removed", journal);
  sync_directory(io, work.path());
  if (auto const result = io.rename(work.path(), out, overwrite::no); result.error != 0)
    throw_io(result.error, "cannot be renamed into place", out);
  sync_directory(io, out.parent_path());
}

}  // namespace detail

/// Writes a job to the new directory `out`: to `<out>.partial`, with a journal, renamed at the end. Whatever stops it, the same
/// call goes on from there and ends with the same bytes; `out` exists only when it is complete and durable, with what
/// `apply_options::additions` add, and `sources` are only read. Memory: a buffer of 4 MiB and at most 1 MiB for small ranges per
/// thread.
///
/// Throws `errc::already_exists` (`out` exists; another process is at work, another job was begun, or something cannot be added),
/// `errc::no_space`, `errc::source_changed`, `errc::cancelled`, `errc::io`, `errc::not_found`.
template <checkpoint_io Io>
apply_report execute(Io& io, write_job const& job, std::filesystem::path const& out, apply_options const& options = {}) {
  detail::refuse_existing(io, out);
  detail::check_additions(job, out, options);
  auto partial = out;
  partial += ".partial";
  detail::work_directory<Io> const work{io, partial};
  detail::refuse_existing(io, out);
  auto const others = detail::listed_beside(io, partial, job);
  apply_report report;
  {
    detail::journal<Io> log{io, partial, job.state_digest()};
    if (detail::uninterrupted([&] { return io.lock(log.handle()); }).error == EWOULDBLOCK) work.refuse(partial);
    detail::remove_others(io, partial, others, log);
    detail::job_runner<Io> runner{io, job, partial, options, log};
    report.files = runner.run();
    report.resumed = runner.resumed();
    report.digests = runner.take_digests();
    detail::add_to(io, partial, job, options, log, report);
    detail::finish(io, work, out);
  }
  for (auto const& f : report.files) report.bytes += f.bytes;
  return report;
}

CULL_NAMESPACE_END
