// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/header.hpp>
#include <cull/checkpoint/mapped_file.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// One safetensors file, opened by its header; data is mapped and read when it is used.
class safetensors_file {
 public:
  /// Throws what `mapped_file` and `parse_safetensors_header` throw.
  explicit safetensors_file(std::filesystem::path path)
      : path_(std::move(path)),
        map_(path_),
        header_(parse_safetensors_header(map_.bytes(), map_.bytes().size(), path_.string())) {
    std::sort(header_.tensors.begin(), header_.tensors.end(), [](auto const& a, auto const& b) { return a.name < b.name; });
  }
  static safetensors_file open(std::filesystem::path path) { return safetensors_file{std::move(path)}; }

  std::filesystem::path const& path() const { return path_; }
  std::map<std::string, std::string> const& metadata() const { return header_.metadata; }
  /// In ascending order of name.
  std::vector<tensor_info> const& tensors() const { return header_.tensors; }
  std::uint64_t size() const { return map_.bytes().size(); }
  std::uint64_t data_begin() const { return header_.data_begin; }

  tensor_info const* find(std::string_view name) const { return detail::find_tensor(tensors(), name); }
  /// The same, or throws `errc::not_found`.
  tensor_info const& require(std::string_view name) const {
    if (auto const* found = find(name)) return *found;
    throw error{errc::not_found, "is not in the file", {.file = path_.string(), .tensor = std::string{name}}};
  }

  /// Valid as long as this object.
  std::span<std::byte const> bytes(tensor_info const& tensor) const {
    return map_.bytes().subspan(static_cast<std::size_t>(tensor.begin), static_cast<std::size_t>(tensor.bytes()));
  }
  /// Length field and JSON text.
  std::span<std::byte const> header_bytes() const { return map_.bytes().first(static_cast<std::size_t>(header_.data_begin)); }

 private:
  std::filesystem::path path_;
  mapped_file map_;
  safetensors_header header_;
};

CULL_NAMESPACE_END
