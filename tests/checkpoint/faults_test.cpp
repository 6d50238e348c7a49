// SPDX-License-Identifier: Apache-2.0
// Writing a checkpoint when things go wrong: every operation fails in turn, in every way; power fails at every point.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include <cull/checkpoint/execute.hpp>

#include <support/faulty_io.hpp>
#include <support/recording_io.hpp>
#include <support/sanitized.hpp>

#include "small_job.hpp"

namespace {

using namespace checkpoint_test;
using test_support::fault;
using test_support::fault_kind;
using test_support::repeated;
using test_support::sanitized;

constexpr char out[] = "/disk/out";

/// Nothing, or all of it.
bool absent_or_whole(cull::memory_io const& io, small_job const& it) { return !io.exists(out) || io.tree(out) == it.output; }

bool sources_untouched(cull::memory_io const& io, small_job const& it) { return io.tree("/model") == it.sources; }

struct outcome {
  bool struck = false, failed = false;
  cull::errc code = cull::errc::cancelled;
  std::int64_t resumed = 0;
};

/// Does the job with a fault, then again without; checks what must hold in between and after.
outcome strike(fault const& what) {
  small_job it;
  cull::memory_io files;
  it.put_sources(files);
  outcome result;
  {
    test_support::faulty_io<cull::memory_io> io{files, what};
    try {
      cull::execute(io, it.job, out);
    } catch (cull::error const& problem) {
      result.failed = true;
      result.code = problem.code();
    }
    result.struck = io.struck();
  }
  CHECK(files.open_handles() == 0);
  CHECK(absent_or_whole(files, it));
  CHECK(sources_untouched(files, it));
  if (!result.failed) CHECK(files.exists(out));
  if (!files.exists(out)) result.resumed = cull::execute(files, it.job, out).resumed;
  CHECK(files.tree(out) == it.output);
  CHECK(files.tree("/disk").size() == it.output.size() + 1);
  CHECK(files.open_handles() == 0);
  CHECK(sources_untouched(files, it));
  return result;
}

/// The fault befalls operation 1, 2, 3, ... until there are no more. Under sanitizers every fifth, each sweep from the next first
/// one on, so that five sweeps visit all. Gives how many operations there are, under sanitizers at most four too many.
constexpr int stride = repeated(1, 5);
template <class Check>
std::int64_t sweep(fault what, Check&& check) {
  static int turn = 0;
  for (what.number = 1 + turn++ % stride;; what.number += stride) {
    CAPTURE(what.number);
    auto const result = strike(what);
    if (!result.struck) return what.number - 1;
    check(result);
  }
}

}  // namespace

TEST_CASE("execute: the output is the concatenation of its ranges") {
  small_job it;
  cull::memory_io io;
  it.put_sources(io);
  auto const report = cull::execute(io, it.job, out);
  CHECK(io.tree(out) == it.output);
  CHECK(report.resumed == 0);
  std::uint64_t bytes = 0;
  for (auto const& [name, text] : it.output) bytes += text.size();
  CHECK(report.bytes == bytes);
  CHECK(it.job.bytes() + it.job.manifest_bytes() == bytes);
  CHECK(code_of([&] { cull::execute(io, it.job, out); }) == cull::errc::already_exists);
}

TEST_CASE("execute: every operation fails once with every error; then the same call ends with the same bytes") {
  for (int const number : {EIO, ENOSPC, EDQUOT, EROFS, EMFILE}) {
    CAPTURE(number);
    std::int64_t failures = 0;
    auto const runs = sweep({.error = number}, [&](outcome const& o) {
      failures += o.failed ? 1 : 0;
      bool const full = number == ENOSPC || number == EDQUOT;
      if (o.failed) CHECK(o.code == (full ? cull::errc::no_space : cull::errc::io));
    });
    CHECK(runs > 150);
    CHECK(failures * stride > runs / 2);
  }
}

TEST_CASE("execute: signals, short transfers and transfers of nothing") {
  sweep({.error = EINTR}, [](outcome const& o) {
    if (o.failed) CHECK(o.code == cull::errc::io);
  });
  for (auto const* const operation : {"read", "write", "open_read", "create", "open_log", "open_directory", "reserve", "lock"}) {
    CHECK(sweep({.error = EINTR, .only = operation}, [](outcome const& o) { CHECK_FALSE(o.failed); }) > 0);
  }
  CHECK(sweep({.kind = fault_kind::partial}, [](outcome const& o) { CHECK_FALSE(o.failed); }) > 20);
  CHECK(sweep({.kind = fault_kind::nothing, .only = "write"}, [](outcome const& o) { CHECK(o.code == cull::errc::io); }) > 10);
  CHECK(sweep({.kind = fault_kind::nothing, .only = "read"},
              [](outcome const& o) { CHECK(o.code == cull::errc::source_changed); }) > 10);
}

TEST_CASE("execute: killed before any operation, it goes on, and from as many files as were finished") {
  std::int64_t most = 0, again = 0;
  CHECK(sweep({.kind = fault_kind::death}, [&](outcome const& o) {
          again += o.resumed < most ? 1 : 0;
          most = std::max(most, o.resumed);
        }) > 150);
  CHECK(most >= repeated(7, 5));
  // Between the end of the journal and the directory's name there is nothing to go on from; the last operations close what is
  // done.
  CHECK(again <= 8);
}

TEST_CASE("execute: what is added is there with the name or not at all, and gone again where the next call does not want it") {
  small_job it;
  auto const wanted = it.output_with_additions();
  std::int64_t fewer = 0, runs = 0;
  for (fault what : {fault{.kind = fault_kind::death}, fault{.error = EIO}}) {
    for (what.number = 1;; what.number += stride) {
      CAPTURE(what.number);
      for (bool const again : {true, false}) {
        cull::memory_io files;
        it.put_sources(files);
        test_support::faulty_io<cull::memory_io> io{files, what};
        try {
          cull::execute(io, it.job, out, {.additions = it.additions(files)});
        } catch (cull::error const&) {
        }
        if (!io.struck()) what.number = -stride;
        if (files.exists(out)) {
          CHECK(files.tree(out) == wanted);
          continue;
        }
        ++runs;
        fewer += files.exists("/disk/out.partial/serve.yml") && !again ? 1 : 0;
        auto const report =
            cull::execute(files, it.job, out, {.additions = again ? it.additions(files) : std::vector<cull::file_adder>{}});
        CHECK(report.added.size() == (again ? 4 : 0));
        CHECK(files.tree(out) == (again ? wanted : it.output));
        CHECK(files.tree("/disk").size() == files.tree(out).size() + 1);
        CHECK(sources_untouched(files, it));
      }
      if (what.number < 0) break;
    }
  }
  CHECK(runs * stride > 600);
  CHECK(fewer > 5);

  // Stopped while the last of them is made.
  cull::memory_io files;
  it.put_sources(files);
  auto stopping = it.additions(files);
  stopping.push_back({{"last.md"}, [](auto const&, auto const&) -> std::vector<cull::added_file> {
                        throw cull::error{cull::errc::cancelled, "stopped"};
                      }});
  CHECK(code_of([&] { cull::execute(files, it.job, out, {.additions = stopping}); }) == cull::errc::cancelled);
  CHECK(cull::execute(files, it.job, out, {.additions = it.additions(files)}).resumed > 0);
  CHECK(files.tree(out) == wanted);
}

TEST_CASE("execute: names that cannot be added are refused before a byte is written, others than announced before the name") {
  for (auto const* const name : {"config.json", "one", "x.base.md", "SHA256SUMS.base", "templates", "a/b.md", ".x.md", ""}) {
    CAPTURE(name);
    small_job it;
    cull::memory_io files;
    it.put_sources(files);
    it.job.others.push_back({"page.html/inside"});
    it.job.add_text(it.job.others.back(), "x");
    std::vector<cull::file_adder> const bad{{{name}, [](auto const&, auto const&) { return std::vector<cull::added_file>{}; }}};
    auto const problem = failure_of([&] { cull::execute(files, it.job, out, {.additions = bad}); });
    CHECK(problem.code() == cull::errc::already_exists);
    CHECK(mentions(problem.where().file, "/disk/out/"));
    std::vector<cull::file_adder> const folder{{{"page.html"}, bad[0].make}}, other{{{"new.md"}, bad[0].make}};
    CHECK(mentions(failure_of([&] { cull::execute(files, it.job, out, {.additions = folder}); }).what(),
                   "has a folder of that name; rename it"));
    CHECK(files.tree("/disk").size() == 1);
    CHECK(code_of([&] { cull::execute(files, it.job, out, {.additions = other}); }) == cull::errc::bad_name);
    CHECK_FALSE(files.exists(out));
  }
}

TEST_CASE("execute: each addition sees the source's file of its name under the other one, numbered where that is the source's too") {
  small_job it;
  cull::memory_io files;
  it.put_sources(files);
  for (auto const* const name : {"SHA256SUMS", "README.base.md", "README.base.3.md", "serve.yml"}) {
    it.job.others.push_back({name});
    it.job.add_text(it.job.others.back(), std::string{"the source's "} + name);
  }
  auto const report = cull::execute(files, it.job, out, {.additions = it.additions(files)});
  CHECK(report.added == std::vector<std::string>{"README.base.2.md", "README.md", "SHA256SUMS", "SHA256SUMS.base",
                                                 "serve.base.yml", "serve.yml"});
  auto const tree = files.tree(out);
  CHECK(tree.at("README.base.2.md") == "text of README.md");
  CHECK(tree.at("README.base.md") == "the source's README.base.md");
  CHECK(tree.at("serve.base.yml") == "the source's serve.yml");
  CHECK(tree.at("SHA256SUMS.base") == "the source's SHA256SUMS");
  CHECK(mentions(tree.at("SHA256SUMS"), "SHA256SUMS.base\n"));
}

namespace {

/// Stops a job between the end of its journal and its name, with what it adds.
void leave_unnamed(cull::memory_io& files, small_job& it) {
  static std::int64_t when = 1;
  for (;; ++when) {
    test_support::faulty_io<cull::memory_io> io{files, {.kind = fault_kind::death, .number = when}};
    try {
      cull::execute(io, it.job, out, {.additions = it.additions(files)});
    } catch (cull::error const&) {
    }
    REQUIRE_FALSE(files.exists(out));
    auto const left = files.tree("/disk/out.partial");
    if (left.contains("SHA256SUMS") && !left.contains(".cull-journal")) return;
    for (auto const& [name, text] : left) files.remove("/disk/out.partial/" + name);
  }
}

}  // namespace

TEST_CASE("execute: what was complete but for its name is not mixed with another job, whatever stops that one") {
  // Another plan's: refused, and untouched.
  small_job it, other{2};
  other.job.shards[2].name = "four";
  other.output["four"] = other.output.at("three");
  other.output.erase("three");
  {
    cull::memory_io files;
    it.put_sources(files);
    leave_unnamed(files, it);
    auto const before = files.tree("/disk/out.partial");
    auto planned = other;
    planned.job.plan_digest = std::string(32, '1');
    CHECK(code_of([&] { cull::execute(files, planned.job, out); }) == cull::errc::already_exists);
    CHECK(files.tree("/disk/out.partial") == before);
    cull::execute(files, it.job, out, {.additions = it.additions(files)});
    CHECK(files.tree(out) == it.output_with_additions());
  }
  // The same plan's, of a source that has changed: nothing of it stays.
  std::int64_t runs = 0;
  for (fault what : {fault{.kind = fault_kind::death}, fault{.error = EIO}}) {
    for (what.number = 1;; what.number += stride) {
      CAPTURE(what.number);
      cull::memory_io files;
      it.put_sources(files);
      leave_unnamed(files, it);
      for (auto const& [name, text] : it.sources) files.remove("/model/" + name);
      other.put_sources(files);
      test_support::faulty_io<cull::memory_io> io{files, what};
      try {
        cull::execute(io, other.job, out);
      } catch (cull::error const&) {
      }
      ++runs;
      if (!files.exists(out)) cull::execute(files, other.job, out);
      auto tree = files.tree(out);
      tree.erase(cull::manifest_file_name);
      auto wanted = other.output;
      wanted.erase(cull::manifest_file_name);
      CHECK(tree == wanted);
      if (!io.struck()) break;
    }
  }
  CHECK(runs * stride > 300);
}

TEST_CASE("execute: what a lost synchronisation or a lying disk may have spoilt is found by its digest") {
  small_job it;
  for (std::int64_t n = 1;; ++n) {
    cull::memory_io files;
    it.put_sources(files);
    test_support::faulty_io<cull::memory_io> io{files, {.kind = fault_kind::lie, .number = n}};
    std::int64_t asked = 0;
    auto const stop = [&] { return files.exists("/disk/out.partial/config.json") && ++asked > 0; };
    auto const first = code_of([&] { cull::execute(io, it.job, out, {.cancelled = stop}); });
    if (!io.struck()) break;
    if (files.exists(out)) continue;
    CAPTURE(n);
    CHECK((first == cull::errc::cancelled || first == cull::errc::already_exists));
    cull::execute(files, it.job, out, {.resume = cull::resume_check::digest});
    CHECK(files.tree(out) == it.output);
  }
}

TEST_CASE("execute: sources that shrink, grow, vanish or are replaced are noticed") {
  small_job it;
  using change = void (*)(cull::memory_io&, std::string const&);
  for (change const alter : {change{[](auto&io, auto const&text) { io.put("/model/a.safetensors", text.substr(0, 40)); }},
                             change{[](auto&io, auto const&text) { io.put("/model/a.safetensors", text + "x"); }},
                             change{[](auto&io, auto const&text) { io.put("/model/a.safetensors", text); }},
                             change{[](auto&io, auto const&) { io.remove("/model/a.safetensors"); }}}) {
    for (int const moment : {0, 10, 15}) {
      cull::memory_io io;
      it.put_sources(io);
      int asked = 0;
      auto const act = [&] {
        if (asked++ == moment) alter(io, it.sources.at("a.safetensors"));
        return false;
      };
      auto const code = code_of([&] { cull::execute(io, it.job, out, {.cancelled = act}); });
      CHECK((code == cull::errc::source_changed || code == cull::errc::not_found));
      CHECK_FALSE(io.exists(out));
    }
  }
}

TEST_CASE("execute: a second writer is refused, another job too; too little room is known before a byte is written") {
  small_job it;
  cull::memory_io io;
  it.put_sources(io);
  cull::errc second = cull::errc::cancelled;
  auto const again = [&] {
    if (second == cull::errc::cancelled) second = code_of([&] { cull::execute(io, it.job, out); });
    return false;
  };
  cull::execute(io, it.job, out, {.cancelled = again});
  CHECK(second == cull::errc::already_exists);
  CHECK(io.tree(out) == it.output);

  cull::memory_io small{it.job.bytes() + it.job.manifest_bytes() - 1};
  it.put_sources(small);
  auto const problem = failure_of([&] { cull::execute(small, it.job, out); });
  CHECK(problem.code() == cull::errc::no_space);
  CHECK(mentions(problem.what(), ": 1 are missing"));

  small_job other{2};
  cull::memory_io begun;
  it.put_sources(begun);
  other.put_sources(begun);
  int asked = 0;
  CHECK(code_of([&] { cull::execute(begun, other.job, out, {.cancelled = [&] { return ++asked > 9; }}); }) ==
        cull::errc::cancelled);
  CHECK(code_of([&] { cull::execute(begun, it.job, out); }) == cull::errc::already_exists);
}

namespace {

/// Every file that the manifest lists is there with those bytes.
bool keeps_its_promise(std::map<std::string, std::string> const& tree) {
  auto const manifest = nlohmann::json::parse(tree.at(cull::manifest_file_name));
  auto const& files = manifest.at("files");
  return std::all_of(files.items().begin(), files.items().end(), [&](auto const& file) {
    auto const found = tree.find(file.key());
    return found != tree.end() && file.value().at("bytes") == found->second.size() &&
           file.value().at("xxh128") == cull::detail::hex_digest(std::as_bytes(std::span{found->second}));
  });
}

}  // namespace

TEST_CASE("execute: after a power failure the output is absent or whole, and the same call ends with the same bytes") {
  small_job it;
  test_support::recording_io io{31};
  it.put_sources(io);
  io.set_root("/disk");
  cull::execute(io, it.job, out);
  REQUIRE(io.tree(out) == it.output);

  std::int64_t states = 0, whole = 0, wrong = 0, unfinished = 0, promising = 0, broken = 0;
  auto const examine = [&](std::size_t point, std::map<std::size_t, test_support::fate> const& fates) {
    ++states;
    cull::memory_io files;
    it.put_sources(files);
    for (auto const& [name, text] : io.after_crash(point, fates)) {
      if (name.ends_with('/')) {
        files.make_directory("/disk/" + name);
      } else {
        files.put("/disk/" + name, text);
      }
    }
    if (files.exists(out)) {
      ++whole;
      wrong += files.tree(out) == it.output ? 0 : 1;
      return;
    }
    // Without the name, too, a manifest promises that what it lists is there.
    if (auto const begun = files.tree("/disk/out.partial"); begun.contains(cull::manifest_file_name)) {
      ++promising;
      broken += keeps_its_promise(begun) ? 0 : 1;
    }
    cull::execute(files, it.job, out);
    unfinished += files.tree(out) == it.output && files.tree("/disk").size() == it.output.size() + 1 ? 0 : 1;
  };
  using test_support::fate;
  constexpr fate fates[] = {fate::lost, fate::torn, fate::zeroed};
  std::mt19937_64 random{23};
  for (std::size_t point = 0; point <= io.steps(); ++point) {
    if (point % static_cast<std::size_t>(repeated(1, 13)) != 0 && point + 3 < io.steps()) continue;
    auto const risky = io.at_risk(point);
    std::map<std::size_t, fate> all_lost;
    for (auto const i : risky) all_lost[i] = fate::lost;
    examine(point, {});
    if (!risky.empty()) examine(point, all_lost);
    for (auto const i : risky) {
      for (auto const f : fates) examine(point, {{i, f}});
      auto but_one = all_lost;
      but_one.erase(i);
      examine(point, but_one);
    }
    for (int n = 0; n < repeated(80, 10) && risky.size() > 1; ++n) {
      std::map<std::size_t, fate> some;
      for (auto const i : risky) {
        if (auto const roll = random() % 4; roll < 3) some[i] = fates[roll];
      }
      examine(point, some);
    }
  }
  CHECK(wrong == 0);
  CHECK(unfinished == 0);
  CHECK(broken == 0);
  CHECK(promising > 1);
  CHECK(whole > 1);
  CHECK(states >= repeated(10'000, 200));
  MESSAGE(states << " states after a power failure, " << whole << " of them complete");
}
