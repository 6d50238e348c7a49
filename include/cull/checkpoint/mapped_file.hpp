// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>
#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <mutex>
#include <span>
#include <utility>

#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A whole file in memory, read-only, by mmap: pages come as they are touched.
class mapped_file {
 public:
  mapped_file() = default;
  /// Throws what `source_file` throws.
  explicit mapped_file(std::filesystem::path const& path) : mapped_file(source_file{path}) {}
  explicit mapped_file(source_file const& file) {
    size_ = static_cast<std::size_t>(file.size());
    if (size_ == 0) return;
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.handle(), 0);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      detail::throw_errno("cannot be mapped", file.path());
    }
  }
  mapped_file(mapped_file&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~mapped_file() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::span<std::byte const> bytes() const { return {static_cast<std::byte const*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

namespace detail {

/// Throws `errc::source_changed` unless a file is still what it was.
inline void check_identity(file_identity const& was, file_identity const& now, std::filesystem::path const& path) {
  if (now == was) return;
  throw error{errc::source_changed,
              now.size < was.size ? "has become shorter since it was opened" : "was changed since it was opened",
              {.file = path.string()}};
}

}  // namespace detail

/// The bytes of a file that was opened earlier: mapped when they are first asked for, and only while the file is the one that was
/// opened. May be asked by several threads.
class lazy_mapping {
 public:
  lazy_mapping(std::filesystem::path path, detail::file_identity identity) : path_(std::move(path)), identity_(identity) {}

  /// Throws `errc::source_changed` where the file was replaced, shortened or written since it was opened.
  std::span<std::byte const> bytes() const {
    std::call_once(mapped_, [&] {
      source_file const file{path_};
      detail::check_identity(identity_, file.identity(), path_);
      map_ = mapped_file{file};
    });
    struct stat status {};
    if (::stat(path_.c_str(), &status) != 0) detail::throw_errno("cannot be examined", path_);
    detail::check_identity(identity_, detail::identity_of(status), path_);
    return map_.bytes();
  }

 private:
  std::filesystem::path path_;
  detail::file_identity identity_;
  mutable std::once_flag mapped_;
  mutable mapped_file map_;
};

CULL_NAMESPACE_END
