// SPDX-License-Identifier: Apache-2.0
// Files in memory behave as the operating system's do: one script, run on both, gives the same results.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <vector>

#include <cull/checkpoint/execute.hpp>
#include <cull/checkpoint/io/memory_io.hpp>
#include <cull/checkpoint/io/posix_io.hpp>
#include <cull/checkpoint/output_file.hpp>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

/// Values that differ between file systems by right (handles, free space) are told by their sign.
template <cull::checkpoint_io Io>
class script {
 public:
  script(Io& io, fs::path dir) : io_(io), dir_(std::move(dir)) {}

  std::vector<std::string> run() {
    names();
    contents();
    locks();
    note("free space", io_.free_space(dir_).value > 0 ? 0 : 1);
    return std::move(log_);
  }

 private:
  void note(std::string const& what, std::int64_t value) { log_.push_back(what + " " + std::to_string(value)); }
  void error(std::string const& what, cull::io_result r) { note(what, r.error); }
  void done(std::string const& what, cull::io_result r) {
    log_.push_back(what + " " + std::to_string(r.error) + " " + std::to_string(r.value));
  }
  int opened(std::string const& what, cull::io_result r) {
    error(what, r);
    return static_cast<int>(r.value);
  }
  void size(std::string const& what, fs::path const& p) {
    cull::file_status s;
    error(what, io_.examine(p, s));
    log_.push_back(what + " " + std::to_string(s.size) + (s.type == cull::file_status::kind::regular ? " file" : " other"));
  }

  void names() {
    error("mkdir", io_.make_directory(dir_ / "d"));
    error("mkdir again", io_.make_directory(dir_ / "d"));
    error("mkdir nowhere", io_.make_directory(dir_ / "no/d"));
    int const f = opened("create", io_.create(dir_ / "d/f"));
    error("create again", io_.create(dir_ / "d/f"));
    error("create nowhere", io_.create(dir_ / "no/f"));
    error("read directory", io_.open_read(dir_ / "d"));
    error("read nothing", io_.open_read(dir_ / "none"));
    error("directory is file", io_.open_directory(dir_ / "d/f"));
    error("close", io_.close(f));
    error("close again", io_.close(f));
    error("create g", io_.create(dir_ / "d/g"));
    error("rename onto", io_.rename(dir_ / "d/f", dir_ / "d/g", cull::overwrite::no));
    error("replace", io_.rename(dir_ / "d/f", dir_ / "d/g", cull::overwrite::yes));
    error("rename nothing", io_.rename(dir_ / "d/f", dir_ / "d/h", cull::overwrite::no));
    error("rename directory", io_.rename(dir_ / "d", dir_ / "e", cull::overwrite::no));
    size("moved", dir_ / "e/g");
    size("gone", dir_ / "d/g");
    error("sync", io_.sync_directory(dir_ / "e"));
    error("sync nothing", io_.sync_directory(dir_ / "d"));
    error("remove", io_.remove(dir_ / "e/g"));
    error("remove again", io_.remove(dir_ / "e/g"));
  }

  void contents() {
    int const w = opened("create", io_.create(dir_ / "f"));
    auto const bytes = std::as_bytes(std::span{std::string_view{"abcdef"}});
    done("write", io_.write({w, 2}, bytes));
    done("write nothing", io_.write({w, 100}, bytes.first(0)));
    size("size", dir_ / "f");
    error("reserve less", io_.reserve(w, 4));
    size("size", dir_ / "f");
    error("reserve", io_.reserve(w, 12));
    size("size", dir_ / "f");
    error("sync", io_.sync(w));
    int const r = opened("open", io_.open_read(dir_ / "f"));
    std::string text(20, '?');
    done("read", io_.read({r, 3}, std::as_writable_bytes(std::span{text})));
    log_.push_back(text);
    done("read at end", io_.read({r, 12}, std::as_writable_bytes(std::span{text})));
    error("remove open", io_.remove(dir_ / "f"));
    done("read removed", io_.read({r, 2}, std::as_writable_bytes(std::span{text}).first(3)));
    log_.push_back(text);
    error("close", io_.close(r));
    error("close", io_.close(w));
    error("write closed", io_.write({w, 0}, bytes));
    int const log = opened("log", io_.open_log(dir_ / "log"));
    done("write", io_.write({log, 0}, bytes));
    int const again = opened("log again", io_.open_log(dir_ / "log"));
    done("read log", io_.read({again, 1}, std::as_writable_bytes(std::span{text}).first(2)));
    log_.push_back(text.substr(0, 2));
    error("close", io_.close(log));
    error("close", io_.close(again));
  }

  void locks() {
    int const a = opened("directory", io_.open_directory(dir_));
    int const b = opened("directory", io_.open_directory(dir_));
    error("lock", io_.lock(a));
    error("lock again", io_.lock(a));
    error("lock other", io_.lock(b));
    error("close", io_.close(a));
    error("lock other", io_.lock(b));
    error("close", io_.close(b));
  }

  Io& io_;
  fs::path dir_;
  std::vector<std::string> log_;
};

}  // namespace

TEST_CASE("memory_io and posix_io give the same answers") {
  scratch_folder const folder;
  cull::posix_io real;
  cull::memory_io pretended;
  pretended.put("/top/here", "");
  auto const wanted = script{real, folder.path()}.run();
  CHECK(wanted.size() > 50);
  auto const found = script{pretended, fs::path{"/top"}}.run();
  REQUIRE(found.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(found[i] == wanted[i]);
}

TEST_CASE("posix_io: pipes and links are refused, a change shows in the status, permissions are the umask's") {
  scratch_folder const folder;
  cull::posix_io io;
  ::mkfifo((folder / "pipe").c_str(), 0600);
  CHECK(io.open_read(folder / "pipe").error == ENXIO);
  CHECK(io.open_read("/dev/null").error == ENXIO);
  fs::create_symlink(folder / "file", folder / "link");
  CHECK(io.create(folder / "link").error == EEXIST);
  CHECK(io.open_log(folder / "link").error == ELOOP);
  fs::create_directory_symlink(folder.path(), folder / "dir");
  CHECK(io.open_directory(folder / "dir").error != 0);
  spill(folder / "file", "a");
  cull::file_status before, after;
  io.examine(folder / "file", before);
  spill(folder / "new", "b");
  fs::rename(folder / "new", folder / "file");
  io.examine(folder / "file", after);
  CHECK(before != after);
  for (mode_t const mask : {mode_t{022}, mode_t{077}}) {
    auto const old = ::umask(mask);
    cull::write_file(folder / std::to_string(mask), "x");
    ::umask(old);
    struct stat s {};
    ::stat((folder / std::to_string(mask)).c_str(), &s);
    CHECK((s.st_mode & 0777) == (0666 & ~mask));
  }
}

TEST_CASE("output_file: what another process is writing is left alone, what a dead one left is not") {
  scratch_folder const folder;
  cull::posix_io io;
  {
    cull::output_file<cull::posix_io> first{io, folder / "f"};
    first.write("first");
    CHECK(code_of([&] { cull::write_file(folder / "f", "second"); }) == cull::errc::already_exists);
    first.publish();
  }
  CHECK(slurp(folder / "f") == "first");
  spill(folder / ".g.partial", "half");
  cull::write_file(folder / "g", "whole");
  CHECK(slurp(folder / "g") == "whole");
  CHECK_FALSE(fs::exists(folder / ".g.partial"));
}

namespace {

/// Shares extents as some file systems do, and takes the flag that bypasses the cache but not every size, as others do.
struct choosy_io : cull::memory_io {
  std::int64_t shared = 0, refused = 0;
  bool shares = true;
  int refusal = 0;  ///< of writes past the cache

  cull::io_result share(cull::file_place from, cull::file_place to, std::uint64_t size) {
    if (!shares) return {-1, EOPNOTSUPP};
    CHECK(from.byte % 4096 == 0);
    CHECK(to.byte % 4096 == 0);
    CHECK(size % 4096 == 0);
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    read(from, bytes);
    ++shared;
    return write(to, bytes);
  }
  cull::io_result set_caching(int, cull::caching to) {
    bypasses_ = to == cull::caching::bypass;
    return {};
  }
  cull::io_result write(cull::file_place to, std::span<std::byte const> bytes) {
    if (bypasses_ && refusal != 0) {
      ++refused;
      return {-1, refusal};
    }
    return memory_io::write(to, bytes);
  }

 private:
  bool bypasses_ = false;
};

}  // namespace

TEST_CASE("io: shared extents, and writes that the file system refuses past the cache, give the same bytes and digests") {
  std::string text(std::size_t{11} << 20, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>((i * 2654435761u) >> 11);
  cull::write_job job;
  job.shards.push_back({"shard"});
  job.add_text(job.shards[0], std::string(4096, 'h'));
  job.sources.push_back({"/model/source", {}});
  // The same place within a block, another, the same again.
  job.add(job.shards[0], {cull::job_piece::kind::source, 0, 8192 + 5, (std::size_t{5} << 20) - 5});
  job.shards[0].pieces.insert(job.shards[0].pieces.begin() + 1, {cull::job_piece::kind::source, 0, 0, 5});
  job.shards[0].size += 5;
  job.add(job.shards[0], {cull::job_piece::kind::source, 0, 3, (std::size_t{3} << 20) + 77});
  auto const wanted = std::string(4096, 'h') + text.substr(0, 5) + text.substr(8192 + 5, (std::size_t{5} << 20) - 5) +
                      text.substr(3, (std::size_t{3} << 20) + 77);
  for (bool const shares : {true, false}) {
    for (int const refusal : {0, EINVAL, ENOSPC}) {
      for (auto const cache : {cull::caching::use, cull::caching::bypass}) {
        choosy_io io;
        io.put("/disk/here", "");
        io.put("/model/source", text);
        io.examine(job.sources[0].path, job.sources[0].status);
        io.shares = shares;
        io.refusal = refusal;
        auto const report = cull::execute(io, job, "/disk/out", {.cache = cache});
        CHECK((io.get("/disk/out/shard") == wanted));
        CHECK(report.files[0].xxh128 == cull::detail::hex_digest(std::as_bytes(std::span{wanted})));
        CHECK((io.shared > 0) == shares);
        CHECK((io.refused > 0) == (refusal != 0 && cache == cull::caching::bypass));
      }
    }
  }
}

TEST_CASE("io: shards through the cache and past it are the same bytes, whatever their size") {
  scratch_folder const folder;
  for (std::size_t const size : {(std::size_t{4} << 20) - 1, std::size_t{4} << 20, (std::size_t{9} << 20) + 13}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 11);
    spill(folder / "source", text);
    cull::posix_io io;
    cull::write_job job;
    job.sources.push_back({folder / "source", {}});
    io.examine(job.sources[0].path, job.sources[0].status);
    job.shards.push_back({"shard"});
    job.add_text(job.shards[0], "head");
    job.add(job.shards[0], {cull::job_piece::kind::source, 0, 1, size - 1});
    auto const wanted = "head" + text.substr(1);
    for (auto const cache : {cull::caching::use, cull::caching::bypass}) {
      auto const out = folder / ("out" + std::to_string(size) + (cache == cull::caching::use ? "u" : "b"));
      auto const report = cull::execute(io, job, out, {.cache = cache});
      CHECK(slurp(out / "shard") == wanted);
      CHECK(report.files[0].xxh128 == cull::detail::hex_digest(std::as_bytes(std::span{wanted})));
    }
  }
}
