// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/io/io_file.hpp>
#include <cull/checkpoint/write_job.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Reads ranges of a job's sources for one output file, and notices sources that change meanwhile.
template <checkpoint_io Io>
class source_reader {
 public:
  source_reader(Io& io, write_job const& job) : io_(io), job_(job) {}

  /// Small ranges that lie near each other in one file, from `first` on: how many are best read in one go.
  static std::size_t near(std::span<job_piece const> pieces) {
    std::size_t count = 1;
    while (count < pieces.size()) {
      auto const &last = pieces[count - 1], &next = pieces[count];
      bool const follows = next.from == last.from && next.at == last.at && next.begin >= last.begin + last.size;
      if (!follows || next.begin - (last.begin + last.size) > gap || next.begin + next.size - pieces[0].begin > window) break;
      ++count;
    }
    return count;
  }

  /// `use(bytes)` for each of the ranges, in order; they must be `near` each other.
  template <class Use>
  void read_near(std::span<job_piece const> pieces, Use&& use) {
    auto const begin = pieces.front().begin;
    buffer_.resize(static_cast<std::size_t>(pieces.back().begin + pieces.back().size - begin));
    file(pieces.front().at).read(begin, buffer_);
    for (auto const& piece : pieces) {
      use(std::span<std::byte const>{buffer_}.subspan(static_cast<std::size_t>(piece.begin - begin),
                                                      static_cast<std::size_t>(piece.size)));
    }
  }
  void read(std::uint32_t source, std::uint64_t begin, std::span<std::byte> to) { file(source).read(begin, to); }
  int handle(std::uint32_t source) { return file(source).handle(); }

  /// Throws `errc::source_changed` unless all files that were read are what they were when the job was planned.
  void check_unchanged() const {
    for (auto const& [at, file] : files_) {
      auto const& source = job_.sources[at];
      if (examine(io_, source.path) != source.status || file.examine() != source.status)
        throw error{errc::source_changed, "was changed or replaced while it was copied", {.file = source.path.string()}};
    }
  }

  static constexpr std::uint64_t gap = std::uint64_t{64} << 10, window = std::uint64_t{1} << 20;

 private:
  io_file<Io>& file(std::uint32_t at) {
    auto const found = files_.find(at);
    if (found != files_.end()) return found->second;
    auto const& source = job_.sources[at];
    io_file<Io> opened{io_, uninterrupted([&] { return io_.open_read(source.path); }), source.path,
                       "cannot be opened for reading"};
    if (opened.examine() != source.status)
      throw error{errc::source_changed, "was changed or replaced after the job was planned", {.file = source.path.string()}};
    return files_.emplace(at, std::move(opened)).first->second;
  }

  Io& io_;
  write_job const& job_;
  std::map<std::uint32_t, io_file<Io>> files_;
  std::vector<std::byte> buffer_;
};

}  // namespace detail
CULL_NAMESPACE_END
