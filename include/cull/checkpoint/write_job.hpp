// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/io/io.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Takes the bytes of a tensor piece by piece.
using byte_sink = std::function<void(std::span<std::byte const>)>;

/// A file that is read while a job is written, as it was when the job was planned.
struct job_source {
  std::filesystem::path path;
  file_status status;
};

/// Consecutive bytes of an output file: of a text, of a source, or made by a function.
struct job_piece {
  enum class kind : std::uint32_t { text, source, made };
  kind from = kind::text;
  std::uint32_t at = 0;     ///< place in the job's list of that kind
  std::uint64_t begin = 0;  ///< of a source, in bytes; texts and made bytes are taken whole
  std::uint64_t size = 0;
};

struct job_file {
  std::string name;  ///< relative, with '/'
  std::uint64_t size = 0;
  std::vector<job_piece> pieces = {};
};

/// A directory to be written, as ranges of bytes: nothing about it is decided later. `shards` may be written side by side,
/// `others` follow one after another in their order.
struct write_job {
  std::vector<job_source> sources;
  std::vector<std::string> texts;
  std::vector<std::function<void(byte_sink const&)>> makers;  ///< pure functions
  std::vector<job_file> shards, others;
  std::string made_for;     ///< what makers depend on, beside the sources
  std::string plan_digest;  ///< XXH128 of the plan file, for the manifest; empty where there is none

  void add_text(job_file& to, std::string text) {
    add(to, {job_piece::kind::text, static_cast<std::uint32_t>(texts.size()), 0, text.size()});
    texts.push_back(std::move(text));
  }
  /// Ranges that touch become one.
  void add(job_file& to, job_piece piece) const {
    to.size += piece.size;
    if (!to.pieces.empty() && piece.from == job_piece::kind::source) {
      auto& last = to.pieces.back();
      if (last.from == piece.from && last.at == piece.at && last.begin + last.size == piece.begin) {
        last.size += piece.size;
        return;
      }
    }
    if (piece.size > 0) to.pieces.push_back(piece);
  }

  /// Of all files but the manifest.
  std::set<std::string> names() const {
    std::set<std::string> out;
    for (auto const* const list : {&shards, &others}) {
      for (auto const& file : *list) out.insert(file.name);
    }
    return out;
  }
  /// Of the manifest, whatever the digests in it will be.
  std::uint64_t manifest_bytes() const {
    std::vector<written_file> files;
    for (auto const* const list : {&shards, &others}) {
      for (auto const& file : *list) files.push_back({file.name, file.size, std::string(32, '0')});
    }
    return manifest_text(plan_digest, std::move(files)).size();
  }
  /// Of all files but the manifest.
  std::uint64_t bytes() const {
    std::uint64_t out = 0;
    for (auto const* const list : {&shards, &others}) {
      for (auto const& file : *list) out += file.size;
    }
    return out;
  }

  /// XXH128 of what is to be written, wherever the sources lie: the same for the same headers, keep-sets and options.
  std::string digest() const {
    detail::hasher hash;
    hash.add(std::string_view{version_string});
    hash.add(made_for);
    for (auto const* const list : {&shards, &others}) {
      for (auto const& file : *list) {
        hash.add(file.name);
        hash.add(file.size);
        for (auto const& piece : file.pieces) add_to(hash, piece);
      }
    }
    return hash.hex();
  }
  /// The same and the state of the sources: what a job must share with an interrupted one to go on from it.
  std::string state_digest() const {
    detail::hasher hash;
    hash.add(digest());
    for (auto const& source : sources) {
      hash.add(source.status.size);
      hash.add(static_cast<std::uint64_t>(source.status.modified));
    }
    return hash.hex();
  }

 private:
  void add_to(detail::hasher& hash, job_piece const& piece) const {
    hash.add(static_cast<std::uint64_t>(piece.from));
    hash.add(piece.begin);
    hash.add(piece.size);
    if (piece.from == job_piece::kind::text) hash.add(texts[piece.at]);
    if (piece.from == job_piece::kind::source) hash.add(sources[piece.at].path.filename().string());
  }
};

CULL_NAMESPACE_END
