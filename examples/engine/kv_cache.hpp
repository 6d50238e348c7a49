// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

namespace engine {

/// What one layer remembers of one sequence: per position its keys and values (latent attention: the normed latent and the
/// rotated key that all heads share), and the indexer's key in layers that have an indexer.
class layer_cache {
 public:
  layer_cache() = default;
  layer_cache(std::int64_t key_dim, std::int64_t index_dim) : key_dim_(key_dim), index_dim_(index_dim) {}

  std::int64_t positions() const { return key_dim_ == 0 ? 0 : static_cast<std::int64_t>(keys_.size()) / key_dim_; }
  void append(float const* key) { keys_.insert(keys_.end(), key, key + key_dim_); }
  void append_index(float const* key) { index_keys_.insert(index_keys_.end(), key, key + index_dim_); }

  /// The same as it was after its first `positions`.
  layer_cache first(std::int64_t positions) const {
    layer_cache out{key_dim_, index_dim_};
    auto const part = [&](std::vector<float> const& of, std::int64_t size) {
      return std::vector<float>(of.begin(), of.begin() + std::min<std::ptrdiff_t>(std::ssize(of), positions * size));
    };
    out.keys_ = part(keys_, key_dim_);
    out.index_keys_ = part(index_keys_, index_dim_);
    return out;
  }

  float const* key(std::int64_t position) const { return keys_.data() + position * key_dim_; }
  float const* index_key(std::int64_t position) const { return index_keys_.data() + position * index_dim_; }

 private:
  std::int64_t key_dim_ = 0;
  std::int64_t index_dim_ = 0;
  std::vector<float> keys_;
  std::vector<float> index_keys_;
};

/// Positions that a token attends to, ascending; empty: every position up to its own.
using picked_positions = std::vector<std::int32_t>;

/// One token of a batch: where it stands, what its layer remembers of its sequence, and the last indexer's picks for it.
struct token_place {
  std::int64_t position = 0;
  layer_cache* cache = nullptr;
  picked_positions* picks = nullptr;
};

}  // namespace engine
