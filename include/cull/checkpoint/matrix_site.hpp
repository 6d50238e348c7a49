// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A tensor with the bytes it has.
struct tensor_data {
  tensor_info const* info = nullptr;
  std::span<std::byte const> bytes;

  [[noreturn]] void refuse(std::string const& why) const {
    throw error{errc::unsupported_format, why, {.tensor = info->name}};
  }
};

/// Some rows of a tensor: `rows` of `row_bytes` each, `step` stored rows apart.
struct stored_rows {
  std::byte const* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t row_bytes = 0;
  std::int64_t step = 1;
};

/// Which rows of a matrix with `of` parts: all (1), or one of two that share a tensor.
struct row_share {
  int part = 0;
  int of = 1;
  bool interleaved = false;  ///< every second row, instead of a half
};

/// Where a weight matrix is stored: the tensors whose names begin with a stem, and which part of them is meant. Formats read
/// themselves from it (`stored<F>`); what they need to know about fused tensors is done here.
class matrix_site {
 public:
  /// `Find(name)`: the tensor of that name, or nothing.
  template <class Find>
  matrix_site(Find find, std::string folder, std::string stem, int expert = -1, row_share share = {}, bool transposed = false)
      : find_(find), folder_(std::move(folder)), stem_(std::move(stem)), expert_(expert), share_(share), transposed_(transposed) {}

  std::string const& folder() const { return folder_; }
  std::string const& stem() const { return stem_; }
  /// True where unquantised weights are stored [in, out].
  bool transposed() const { return transposed_; }
  bool is_fused() const { return expert_ >= 0; }
  row_share const& share() const { return share_; }

  /// The tensor called stem + suffix.
  std::optional<tensor_data> find(std::string_view suffix) const { return find_(stem_ + std::string{suffix}); }
  /// The first of several names.
  std::optional<tensor_data> find_any(std::initializer_list<std::string_view> suffixes) const {
    for (auto const suffix : suffixes) {
      if (auto found = find(suffix)) return found;
    }
    return std::nullopt;
  }
  /// Dimensions of one expert's part, the rows of both parts included.
  std::vector<std::uint64_t> shape(tensor_data const& t) const {
    auto out = t.info->shape;
    if (is_fused() && !out.empty()) out.erase(out.begin());
    return out;
  }
  /// The rows of this matrix in a tensor whose first dimension (after the experts') are rows.
  stored_rows rows(tensor_data const& t) const {
    auto const dims = shape(t);
    if (dims.size() < 2) t.refuse("has too few dimensions for a matrix");
    auto const bytes = expert_bytes(t);
    auto const all = static_cast<std::int64_t>(dims[0]);
    if (all % share_.of != 0) t.refuse(std::to_string(all) + " rows cannot be shared by gate and up");
    stored_rows out{bytes.data(), all / share_.of, all == 0 ? 0 : static_cast<std::int64_t>(bytes.size()) / all,
                    share_.interleaved ? share_.of : 1};
    out.data += share_.part * (share_.interleaved ? 1 : out.rows) * out.row_bytes;
    return out;
  }
  /// The bytes of this expert in a tensor [experts, ...], or all bytes of a tensor of its own.
  std::span<std::byte const> expert_bytes(tensor_data const& t) const {
    if (!is_fused()) return t.bytes;
    auto const experts = t.info->shape.empty() ? std::uint64_t{0} : t.info->shape[0];
    if (static_cast<std::uint64_t>(expert_) >= experts) t.refuse("has no expert " + std::to_string(expert_));
    auto const size = t.bytes.size() / static_cast<std::size_t>(experts);
    return t.bytes.subspan(size * static_cast<std::size_t>(expert_), size);
  }

 private:
  std::function<std::optional<tensor_data>(std::string const&)> find_;
  std::string folder_;
  std::string stem_;
  int expert_;
  row_share share_;
  bool transposed_;
};

CULL_NAMESPACE_END
