// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>

#include <cull/checkpoint/byte_digest.hpp>
#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/source_reader.hpp>
#include <cull/checkpoint/write_job.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Memory for direct I/O: aligned, and of a size that disks like.
class copy_buffer {
 public:
  static constexpr std::size_t alignment = 4096, size = std::size_t{4} << 20;
  copy_buffer() : bytes_(static_cast<std::byte*>(::operator new (size, std::align_val_t{alignment}))) {}
  std::span<std::byte> bytes() const { return {bytes_.get(), size}; }

 private:
  struct deleter {
    void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{alignment}); }
  };
  std::unique_ptr<std::byte, deleter> bytes_;
};

/// Writes one file of a job through a buffer, hashing it on the way.
template <checkpoint_io Io>
class job_file_writer {
 public:
  /// Called with the bytes done since the last call; throws to stop.
  using step = std::function<void(std::uint64_t)>;

  job_file_writer(Io& io, write_job const& job, job_file const& file, output_file<Io>& out, copy_buffer& buffer, step const& done)
      : io_(io), job_(job), file_(file), out_(out), buffer_(buffer.bytes()), done_(done), reader_(io, job) {}

  /// Everything but publishing; gives the file's digest. `second`: another one, if it is wanted.
  std::string write(caching cache, byte_digest* second) {
    second_ = second;
    out_.reserve(file_.size);
    bypassing_ = cache == caching::bypass && file_.size >= buffer_.size() && io_.set_caching(out_.handle(), cache).error == 0;
    std::span<job_piece const> const pieces{file_.pieces};
    for (std::size_t i = 0; i < pieces.size();) i += write_from(pieces.subspan(i));
    use_cache();
    flush();
    reader_.check_unchanged();
    if (out_.end() != file_.size)
      throw error{errc::shape_mismatch,
                  std::to_string(out_.end()) + " bytes were made, " + std::to_string(file_.size) + " were planned",
                  {.file = file_.name}};
    return hash_.hex();
  }

 private:
  /// Writes the first of these pieces, or some; gives how many.
  std::size_t write_from(std::span<job_piece const> pieces) {
    auto const& piece = pieces.front();
    done_(0);
    switch (piece.from) {
      case job_piece::kind::text:
        put(std::as_bytes(std::span{job_.texts[piece.at]}));
        return 1;
      case job_piece::kind::made:
        job_.makers[piece.at]([this](std::span<std::byte const> bytes) { put(bytes); });
        return 1;
      case job_piece::kind::source:
        break;
    }
    auto const near = source_reader<Io>::near(pieces);
    if (near > 1) {
      reader_.read_near(pieces.first(near), [this](std::span<std::byte const> bytes) { put(bytes); });
    } else if (!share(piece)) {
      copy(piece.at, piece.begin, piece.size);
    }
    return near;
  }

  void put(std::span<std::byte const> bytes) {
    while (!bytes.empty()) {
      auto const part = bytes.first(std::min(bytes.size(), buffer_.size() - used_));
      std::memcpy(buffer_.data() + used_, part.data(), part.size());
      bytes = bytes.subspan(part.size());
      advance(part.size());
    }
  }
  void copy(std::uint32_t source, std::uint64_t begin, std::uint64_t size) {
    while (size > 0) {
      auto const part = std::min<std::uint64_t>(size, buffer_.size() - used_);
      reader_.read(source, begin, buffer_.subspan(used_, static_cast<std::size_t>(part)));
      begin += part;
      size -= part;
      advance(static_cast<std::size_t>(part));
    }
  }
  void advance(std::size_t size) {
    used_ += size;
    if (used_ == buffer_.size()) flush();
  }

  void digest(std::span<std::byte const> bytes) {
    hash_.append(bytes);
    if (second_ != nullptr) second_->append(bytes);
  }
  void flush() {
    auto const bytes = buffer_.first(used_);
    digest(bytes);
    auto const from = out_.end();
    if (bypassing_) {
      write_past_cache(bytes);
    } else {
      out_.write(bytes);
      io_.start_writeback({out_.handle(), from}, bytes.size());
    }
    used_ = 0;
    done_(bytes.size());
  }
  void write_past_cache(std::span<std::byte const> bytes) {
    try {
      out_.write(bytes);
    } catch (error const&) {
      // A file system may take the flag and refuse the sizes. Whatever else was wrong shows again.
      use_cache();
      out_.write(bytes);
    }
  }
  void use_cache() {
    if (bypassing_) io_.set_caching(out_.handle(), caching::use);
    bypassing_ = false;
  }

  /// Where source and output have the same place within a block, the file system may let them share the blocks between; the bytes
  /// are read for the hash alone.
  bool share(job_piece const& piece) {
    constexpr std::uint64_t block = copy_buffer::alignment, worthwhile = std::uint64_t{1} << 20;
    auto const at = out_.end() + used_;
    if (!may_share_ || piece.size < worthwhile || (at - piece.begin) % block != 0) return false;
    auto const head = (block - at % block) % block;
    auto const middle = (piece.size - head) / block * block;
    copy(piece.at, piece.begin, head);
    flush();
    if (out_.share({reader_.handle(piece.at), piece.begin + head}, middle) != 0) {
      may_share_ = false;
      copy(piece.at, piece.begin + head, piece.size - head);
      return true;
    }
    for (std::uint64_t done = 0; done < middle;) {
      auto const part = buffer_.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), middle - done)));
      reader_.read(piece.at, piece.begin + head + done, part);
      digest(part);
      done_(part.size());
      done += part.size();
    }
    copy(piece.at, piece.begin + head + middle, piece.size - head - middle);
    return true;
  }

  Io& io_;
  write_job const& job_;
  job_file const& file_;
  output_file<Io>& out_;
  std::span<std::byte> buffer_;
  step const& done_;
  source_reader<Io> reader_;
  hasher hash_;
  byte_digest* second_ = nullptr;
  std::size_t used_ = 0;
  bool bypassing_ = false, may_share_ = true;
};

}  // namespace detail
CULL_NAMESPACE_END
