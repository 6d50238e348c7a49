// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/pruned_layout.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Bytes of all files that `apply` writes: shards with their headers, configs, index, plan, copied files and the manifest, whose
/// digests have a known length. From headers alone. Throws what `lay_out` throws.
inline std::uint64_t predict_written(checkpoint const& model, pruning_plan const& plan) {
  auto const layout = lay_out(model, plan);
  std::string const digest(32, '0');
  std::vector<written_file> files;
  for (auto const& shard : layout->shards) files.push_back({shard.name, shard.layout.size, digest});
  for (auto const& text : layout->texts) files.push_back({text.name, text.text.size(), digest});
  for (auto const& side : layout->side_files) {
    files.push_back({side.string(), std::filesystem::file_size(model.dir() / side), digest});
  }
  return layout->bytes + manifest_text(digest, files).size();
}

/// The greatest of `counts` (ascending) whose size is within `limit`, sizes growing with the count; nothing where even the
/// smallest is too large. Calls `size_of(count)` O(log counts) times.
template <class SizeOf>
std::optional<int> largest_fit(std::span<int const> counts, std::uint64_t limit, SizeOf&& size_of) {
  std::size_t fits = 0, above = counts.size();  // counts before `fits` fit, those from `above` do not
  while (fits < above) {
    auto const middle = fits + (above - fits) / 2;
    if (size_of(counts[middle]) <= limit) {
      fits = middle + 1;
    } else {
      above = middle;
    }
  }
  return fits == 0 ? std::nullopt : std::optional{counts[fits - 1]};
}

CULL_NAMESPACE_END
