// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/journal.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/pruned_layout.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/slice_router.hpp>

CULL_NAMESPACE_BEGIN

struct apply_options {
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};  ///< in bytes
  std::function<bool()> cancelled = {};                                        ///< asked between chunks of 8 MiB
};

struct apply_report {
  std::vector<written_file> files;  ///< all of the directory, manifest included
  std::uint64_t bytes = 0;
  std::int64_t resumed = 0;  ///< files that an interrupted run had finished
  std::vector<std::string> left_behind;
};

namespace detail {

/// Writes the files of one layout into a directory.
class pruned_writer {
 public:
  pruned_writer(checkpoint const& model, pruned_layout const& layout, std::filesystem::path dir, apply_options const& options,
                journal& log)
      : model_(model), layout_(layout), dir_(std::move(dir)), options_(options), log_(log) {}

  std::vector<written_file> write() {
    for (auto const& shard : layout_.shards) {
      make(shard.name, shard.layout.size, [&](auto& sink) { write_shard(shard, sink); });
    }
    for (auto const& side : layout_.side_files) {
      mapped_file const source{model_.dir() / side};
      std::filesystem::create_directories((dir_ / side).parent_path());
      make(side.string(), source.bytes().size(), [&](auto& sink) { sink(source.bytes()); });
    }
    for (auto const& text : layout_.texts) {
      make(text.name, text.text.size(), [&](auto& sink) { sink(std::as_bytes(std::span{text.text})); });
    }
    return std::move(files_);
  }
  std::int64_t resumed() const { return resumed_; }

 private:
  template <class Write>
  void make(std::string const& name, std::uint64_t size, Write&& write) {
    auto const path = dir_ / name;
    auto const known = log_.finished().find(name);
    if (known != log_.finished().end() && std::filesystem::is_regular_file(path) && std::filesystem::file_size(path) == size) {
      files_.push_back(known->second);
      ++resumed_;
      advance(size);
      return;
    }
    output_file out{path, overwrite::yes};
    out.reserve(size);
    hasher hash;
    auto sink = [&](std::span<std::byte const> bytes) { pump(bytes, out, hash); };
    write(sink);
    out.publish();
    files_.push_back({name, size, hash.hex()});
    log_.add(files_.back());
  }

  template <class Sink>
  void write_shard(pruned_shard const& shard, Sink& sink) const {
    sink(std::as_bytes(std::span{shard.layout.header}));
    for (auto const& origin : shard.origins) {
      if (origin.places == nullptr) {
        sink(model_.bytes(*origin.source));
      } else {
        write_places(origin, sink);
      }
    }
  }

  /// The kept places of an axis: large pieces straight from the mapped file, small ones gathered first.
  template <class Sink>
  void write_places(tensor_origin const& origin, Sink& sink) const {
    constexpr std::size_t large = std::size_t{1} << 16;
    auto const bytes = model_.bytes(*origin.source);
    auto const& shape = origin.source->shape;
    auto const outer = std::accumulate(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(origin.axis), std::uint64_t{1},
                                       std::multiplies<>{});
    auto const size = bytes.size() / static_cast<std::size_t>(outer);
    for (std::size_t o = 0; o < outer; ++o) {
      auto const block = bytes.subspan(o * size, size);
      auto const piece = size / static_cast<std::size_t>(shape[origin.axis]);
      if (piece < large) {
        auto const gathered = slice_router(block, static_cast<std::int64_t>(shape[origin.axis]), *origin.places);
        sink(std::span{gathered});
      } else {
        for (int const place : *origin.places) sink(block.subspan(piece * static_cast<std::size_t>(place), piece));
      }
    }
  }

  void pump(std::span<std::byte const> bytes, output_file& out, hasher& hash) {
    constexpr std::size_t chunk = std::size_t{8} << 20;
    while (!bytes.empty()) {
      if (options_.cancelled && options_.cancelled()) {
        throw error{errc::cancelled, "stopped; the same command goes on from here", {.file = dir_.string()}};
      }
      auto const part = bytes.first(std::min(chunk, bytes.size()));
      out.write(part);
      hash.append(part);
      advance(part.size());
      bytes = bytes.subspan(part.size());
    }
  }
  void advance(std::uint64_t size) {
    done_ += size;
    if (options_.progress) options_.progress(done_, layout_.bytes);
  }

  checkpoint const& model_;
  pruned_layout const& layout_;
  std::filesystem::path dir_;
  apply_options const& options_;
  journal& log_;
  std::vector<written_file> files_;
  std::uint64_t done_ = 0;
  std::int64_t resumed_ = 0;
};

/// What the output depends on: layouts and texts stand for headers, config and plan.
inline std::string job_digest(pruned_layout const& layout) {
  hasher hash;
  hash.add(std::string_view{version_string});
  for (auto const& shard : layout.shards) {
    hash.add(shard.name);
    hash.add(shard.layout.header);
    for (auto const& origin : shard.origins) hash.add(origin.source->name);
  }
  for (auto const& text : layout.texts) hash.add(text.text);
  for (auto const& side : layout.side_files) hash.add(side.string());
  return hash.hex();
}

inline std::string plan_digest(pruned_layout const& layout) {
  for (auto const& text : layout.texts) {
    if (text.name == plan_file_name) return hex_digest(std::as_bytes(std::span{text.text}));
  }
  return {};
}

/// Output and source must be different trees.
inline void check_destination(checkpoint const& model, std::filesystem::path const& out) {
  namespace fs = std::filesystem;
  if (fs::exists(fs::symlink_status(out))) {
    throw error{errc::already_exists, "exists; remove it or choose another directory", {.file = out.string()}};
  }
  auto const parent = out.has_parent_path() ? out.parent_path() : fs::path{"."};
  if (!fs::is_directory(parent))
    throw error{errc::not_found, "there is no such directory to write into", {.file = parent.string()}};
  auto const source = fs::canonical(model.dir());
  for (auto at = fs::canonical(parent);; at = at.parent_path()) {
    if (at == source)
      throw error{errc::already_exists, "lies inside the source model; choose a directory outside", {.file = out.string()}};
    if (at == at.parent_path()) break;
  }
}

inline void check_space(std::filesystem::path const& dir, std::uint64_t needed) {
  std::error_code code;
  auto const space = std::filesystem::space(dir, code);
  if (!code && space.available < needed) {
    throw error{errc::io,
                "needs " + std::to_string(needed) + " bytes, " + std::to_string(space.available) + " are free",
                {.file = dir.string()}};
  }
}

}  // namespace detail

/// Writes the pruned checkpoint to the new directory `out`: survivors' bytes verbatim, experts renumbered densely, router rows
/// and correction biases gathered, config, quantisation config and index rewritten, other files copied, the plan and a manifest
/// added.
///
/// A pure function of source and plan: the same bytes every time. Crash-safe and resumable: everything is written to
/// `<out>.partial` with a journal and renamed at the end; calling again after an interruption goes on. Throws `errc::bad_plan`,
/// `errc::already_exists`, `errc::io`, `errc::cancelled`; `out` exists only after success.
inline apply_report apply(checkpoint const& model, pruning_plan const& plan, std::filesystem::path out,
                          apply_options const& options = {}) {
  namespace fs = std::filesystem;
  if (!out.has_filename()) out = out.parent_path();
  auto const layout = lay_out(model, plan);
  detail::check_destination(model, out);
  fs::path partial = out;
  partial += ".partial";
  fs::create_directory(partial);
  apply_report report;
  {
    detail::journal log{partial / ".cull-journal", detail::job_digest(*layout)};
    if (log.finished().empty()) detail::check_space(partial, layout->bytes);
    detail::pruned_writer writer{model, *layout, partial, options, log};
    report.files = writer.write();
    report.resumed = writer.resumed();
    auto const manifest = manifest_text(detail::plan_digest(*layout), report.files);
    write_file(partial / manifest_file_name, manifest, overwrite::yes);
    report.files.push_back({manifest_file_name, manifest.size(), detail::hex_digest(std::as_bytes(std::span{manifest}))});
    fs::remove(partial / ".cull-journal");
    if (::rename(partial.c_str(), out.c_str()) != 0) detail::throw_errno("cannot be renamed into place", out);
  }
  detail::sync_directory(out.parent_path());
  for (auto const& f : report.files) report.bytes += f.bytes;
  for (auto const& path : layout->left_behind) report.left_behind.push_back(path.string());
  return report;
}

CULL_NAMESPACE_END
