// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/journal.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/output_layout.hpp>
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
class layout_writer {
 public:
  layout_writer(checkpoint const& model, output_layout const& layout, std::filesystem::path dir, apply_options const& options,
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
  void write_shard(output_shard const& shard, Sink& sink) const {
    sink(std::as_bytes(std::span{shard.layout.header}));
    for (auto const& origin : shard.origins) {
      if (origin.make) {
        origin.make(sink);
      } else if (origin.places == nullptr) {
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
  output_layout const& layout_;
  std::filesystem::path dir_;
  apply_options const& options_;
  journal& log_;
  std::vector<written_file> files_;
  std::uint64_t done_ = 0;
  std::int64_t resumed_ = 0;
};

}  // namespace detail

CULL_NAMESPACE_END
