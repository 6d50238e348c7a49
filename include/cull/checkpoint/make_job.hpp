// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/io/io_file.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/checkpoint/write_job.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Turns a layout into ranges of bytes; takes its texts.
template <checkpoint_io Io>
class job_maker {
 public:
  job_maker(Io& io, checkpoint const& model, output_layout& layout) : io_(io), model_(model), layout_(layout) {}

  write_job make() {
    job_.made_for = layout_.made_for;
    for (auto const& shard : model_.shards()) {
      auto const at = add_source(shard.path());
      if (job_.sources[at].status.size != shard.size())
        throw error{errc::source_changed, "was changed after it was opened", {.file = shard.path().string()}};
    }
    for (auto& shard : layout_.shards) add_shard(shard);
    for (auto const& side : layout_.side_files) add_side_file(side);
    for (auto& text : layout_.texts) {
      if (text.name == plan_file_name) job_.plan_digest = hex_digest(std::as_bytes(std::span{text.text}));
      job_.others.push_back({text.name});
      job_.add_text(job_.others.back(), std::move(text.text));
    }
    return std::move(job_);
  }

 private:
  std::uint32_t add_source(std::filesystem::path path) {
    auto const status = examine(io_, path);
    job_.sources.push_back({std::move(path), status});
    return static_cast<std::uint32_t>(job_.sources.size() - 1);
  }

  void add_side_file(std::filesystem::path const& side) {
    auto const at = add_source(model_.dir() / side);
    job_.others.push_back({side.generic_string()});
    job_.add(job_.others.back(), {job_piece::kind::source, at, 0, job_.sources[at].status.size});
  }

  void add_shard(output_shard& shard) {
    job_.shards.push_back({shard.name});
    auto& file = job_.shards.back();
    job_.add_text(file, std::move(shard.layout.header));
    for (std::size_t i = 0; i < shard.origins.size(); ++i) {
      auto const& origin = shard.origins[i];
      if (origin.made && !origin.made->make) {
        job_.add_text(file, origin.made->text);
      } else if (origin.made) {
        job_.add(file,
                 {job_piece::kind::made, static_cast<std::uint32_t>(job_.makers.size()), 0, shard.layout.tensors[i].bytes()});
        job_.makers.push_back(origin.made->make);
      } else if (origin.places == nullptr) {
        job_.add(file, range(origin, origin.source->begin, origin.source->bytes()));
      } else {
        add_places(file, origin);
      }
    }
  }

  static job_piece range(tensor_origin const& origin, std::uint64_t begin, std::uint64_t size) {
    return {job_piece::kind::source, static_cast<std::uint32_t>(origin.source->shard), begin, size};
  }

  /// The kept places of an axis.
  void add_places(job_file& file, tensor_origin const& origin) {
    auto const& t = *origin.source;
    auto const end = t.shape.begin() + static_cast<std::ptrdiff_t>(origin.axis);
    auto const outer = std::accumulate(t.shape.begin(), end, std::uint64_t{1}, std::multiplies<>{});
    auto const block = t.bytes() / outer, piece = block / t.shape[origin.axis];
    for (std::uint64_t o = 0; o < outer; ++o) {
      for (int const place : *origin.places) {
        job_.add(file, range(origin, t.begin + o * block + static_cast<std::uint64_t>(place) * piece, piece));
      }
    }
  }

  Io& io_;
  checkpoint const& model_;
  output_layout& layout_;
  write_job job_;
};

template <checkpoint_io Io>
write_job make_job(Io& io, checkpoint const& model, output_layout& layout) {
  return job_maker<Io>{io, model, layout}.make();
}

}  // namespace detail
CULL_NAMESPACE_END
