// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/header.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/mapped_file.hpp>
#include <cull/checkpoint/order.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A safetensors file without its list of tensors: what a checkpoint, which has one list for all its files, keeps of each.
class safetensors_shard {
 public:
  safetensors_shard(source_file const& file, safetensors_header&& header)
      : path_(file.path()),
        size_(file.size()),
        data_begin_(header.data_begin),
        trailing_bytes_(header.trailing_bytes),
        identity_(file.identity()),
        metadata_(std::move(header.metadata)),
        data_(std::make_unique<lazy_mapping>(file.path(), file.identity())) {}

  std::filesystem::path const& path() const { return path_; }
  std::map<std::string, std::string> const& metadata() const { return metadata_; }
  std::uint64_t size() const { return size_; }
  std::uint64_t data_begin() const { return data_begin_; }
  std::uint64_t trailing_bytes() const { return trailing_bytes_; }

  /// The data of one of its tensors, mapped; valid as long as this object. Throws `errc::source_changed` where the file is not
  /// the one whose header was read.
  std::span<std::byte const> bytes(tensor_info const& tensor) const {
    return data_->bytes().subspan(static_cast<std::size_t>(tensor.begin), static_cast<std::size_t>(tensor.bytes()));
  }
  /// The file, to be read without a mapping. Throws like `bytes`.
  source_file reopen() const {
    source_file out{path_};
    detail::check_identity(identity_, out.identity(), path_);
    return out;
  }

 private:
  std::filesystem::path path_;
  std::uint64_t size_ = 0, data_begin_ = 0, trailing_bytes_ = 0;
  detail::file_identity identity_;
  std::map<std::string, std::string> metadata_;
  std::unique_ptr<lazy_mapping> data_;
};

/// One safetensors file, opened by its header, which is read and not mapped; data is mapped when it is first used.
class safetensors_file : public safetensors_shard {
 public:
  /// Throws what `source_file` and `read_safetensors_header` throw.
  explicit safetensors_file(std::filesystem::path const& path, leniency const& allowed = {})
      : safetensors_file(source_file{path}, allowed) {}
  explicit safetensors_file(source_file const& file, leniency const& allowed = {})
      : safetensors_file(file, read_safetensors_header([&](auto from, auto to) { file.read(from, to); }, file.size(),
                                                       file.path().string(), allowed)) {}
  static safetensors_file open(std::filesystem::path const& path, leniency const& allowed = {}) {
    return safetensors_file{path, allowed};
  }

  /// In ascending order of name.
  std::vector<tensor_info> const& tensors() const& { return tensors_; }
  std::vector<tensor_info> tensors() && { return std::move(tensors_); }
  tensor_info const* find(std::string_view name) const { return detail::find_tensor(tensors(), name); }
  /// The same, or throws `errc::not_found`.
  tensor_info const& require(std::string_view name) const {
    if (auto const* found = find(name)) return *found;
    throw error{errc::not_found, "is not in the file", {.file = path().string(), .tensor = std::string{name}}};
  }

 private:
  safetensors_file(source_file const& file, safetensors_header&& header)
      : safetensors_shard(file, std::move(header)), tensors_(std::move(header.tensors)) {
    detail::sort_runs(tensors_, [](auto const& a, auto const& b) { return a.name < b.name; });
  }

  std::vector<tensor_info> tensors_;
};

CULL_NAMESPACE_END
