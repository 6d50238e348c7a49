// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/expected_tensors.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/safetensors_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// What was found in one shard.
struct shard_findings {
  std::vector<std::string> failures;
  std::vector<std::string> tensors;  ///< that are there
  std::int64_t compared = 0, experts = 0;
  std::uint64_t bytes = 0;       ///< compared
  std::uint64_t data_bytes = 0;  ///< of all its tensors
  written_file file;             ///< its digest only where all tensors were compared
  std::vector<int> sources;      ///< shards of the source that its tensors come from
  std::map<std::string, std::string> metadata;
};

/// Compares one written shard with the source, in the order of its bytes, and
/// digests it on the way.
class shard_checker {
 public:
  using expected_tensors = std::map<std::string, expectation::tensor>;
  /// `sampled`: whether a tensor's bytes are compared; `step`: called with the
  /// bytes compared since.
  struct rules {
    expectation const& names;
    expected_tensors const& wanted;
    std::function<bool(std::string const&)> sampled;
    std::function<void(std::uint64_t)> step;
  };

  shard_checker(checkpoint const& model, rules const& by, std::filesystem::path const& dir, std::string const& name)
      : model_(model), by_(by), name_(name), file_(dir / name), parsed_(dir / name, left_after_writing(model.allowed())) {}

  shard_findings check() {
    found_.file = {name_, file_.size(), {}};
    found_.metadata = parsed_.metadata();
    auto tensors = parsed_.tensors();
    std::sort(tensors.begin(), tensors.end(), [](auto const& a, auto const& b) { return a.begin < b.begin; });
    hash_range(0, tensors.empty() ? found_.file.bytes : tensors.front().begin);
    for (auto const& t : tensors) {
      found_.tensors.push_back(t.name);
      found_.data_bytes += t.bytes();
      auto const wanted = by_.wanted.find(t.name);
      if (wanted == by_.wanted.end()) {
        fail(t.name + ": in " + name_ + ", must not be there");
      } else {
        found_.sources.push_back(wanted->second.source->shard);
        compare(t, wanted->second);
      }
    }
    if (complete_) found_.file.xxh128 = hash_.hex();
    return std::move(found_);
  }

 private:
  void fail(std::string what) {
    found_.failures.push_back(std::move(what));
    complete_ = false;
  }
  void hash_range(std::uint64_t begin, std::uint64_t size) {
    std::vector<char> block(static_cast<std::size_t>(size));
    file_.read(begin, block);
    hash_.append(std::as_bytes(std::span{block}));
  }

  void compare(tensor_info const& t, expectation::tensor const& wanted) {
    auto shape = wanted.source->shape;
    if (!wanted.places.empty()) shape[wanted.axis] = wanted.places.size();
    if (t.type != wanted.source->type || t.shape != shape)
      return fail(t.name + ": has another type or shape than " + wanted.source->name + " of the source");
    if (!by_.sampled(t.name)) {
      complete_ = false;
      return;
    }
    if (!(wanted.value ? same_value(t, wanted) : same_bytes(t, wanted))) return;
    ++found_.compared;
    found_.experts += by_.names.is_expert(wanted.source->name) ? 1 : 0;
    found_.bytes += t.bytes();
  }

  bool same_value(tensor_info const& t, expectation::tensor const& wanted) {
    char bytes[sizeof(float)];
    file_.read(t.begin, bytes);
    hash_.append(std::as_bytes(std::span{bytes}));
    if (std::memcmp(bytes, &*wanted.value, sizeof bytes) == 0) return true;
    fail(t.name + ": is not the widest scale of its layer");
    return false;
  }

  /// Piece by piece: all of a tensor, or each kept place for each index of the
  /// axes before it.
  bool same_bytes(tensor_info const& t, expectation::tensor const& wanted) {
    auto const& in = source(static_cast<std::size_t>(wanted.source->shard));
    auto const& shape = wanted.source->shape;
    auto const pieces = wanted.places.empty() ? std::vector<int>{0} : wanted.places;
    std::uint64_t outer = 1;
    for (std::size_t i = 0; i < wanted.axis; ++i) outer *= shape[i];
    std::uint64_t const there = wanted.places.empty() ? 1 : shape[wanted.axis];
    std::uint64_t const size = wanted.source->bytes() / (outer * there);
    auto const seen = [&](std::span<char const> bytes) {
      hash_.append(std::as_bytes(bytes));
      by_.step(bytes.size());
    };
    bool same = true;
    for (std::uint64_t i = 0; i < outer * pieces.size(); ++i) {
      auto const place = static_cast<std::uint64_t>(pieces[i % pieces.size()]);
      auto const from = wanted.source->begin + (i / pieces.size() * there + place) * size;
      auto const byte = blocks_.first_difference({&in, from}, {&file_, t.begin + i * size}, size, seen);
      if (byte == size || !same) continue;
      fail(t.name + ": byte " + std::to_string(t.begin + i * size + byte) + " of its file differs from " + wanted.source->name +
           " of the source");
      same = false;
    }
    return same;
  }

  plain_file const& source(std::size_t shard) {
    auto& file = sources_[shard];
    if (!file) file = std::make_unique<plain_file>(model_.shards()[shard].path());
    return *file;
  }

  checkpoint const& model_;
  rules const& by_;
  std::string name_;
  plain_file file_;
  safetensors_file parsed_;
  std::map<std::size_t, std::unique_ptr<plain_file>> sources_;
  file_comparison blocks_;
  hasher hash_;
  bool complete_ = true;
  shard_findings found_;
};

}  // namespace detail
CULL_NAMESPACE_END
