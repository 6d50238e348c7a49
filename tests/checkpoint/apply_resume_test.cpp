// SPDX-License-Identifier: Apache-2.0
// apply, stopped and called again.
#include <doctest/doctest.h>

#include <cstdint>

#include <support/sanitized.hpp>

#include "scratch.hpp"
#include "small_model.hpp"

using namespace checkpoint_test;

namespace apply_resume_tests {
namespace {

/// Applies until `share` of all ranges have been begun.
cull::error stop_after(double share, cull::pruning_plan const& plan, fs::path const& out, int threads = 1) {
  std::int64_t ranges = 0;
  scratch_folder const folder;
  cull::apply(model(), plan, folder / "out", {.cancelled = [&] { return ++ranges < 0; }, .threads = threads});
  std::int64_t asked = 0;
  auto const limit = static_cast<std::int64_t>(share * static_cast<double>(ranges));
  return failure_of(
      [&] { cull::apply(model(), plan, out, {.cancelled = [&] { return asked++ >= limit; }, .threads = threads}); });
}

}  // namespace
}  // namespace apply_resume_tests

using namespace apply_resume_tests;

TEST_CASE(
    "apply: stopped at any point, it goes on and ends with the same "
    "bytes, whatever the threads") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  cull::apply(model(), plan, folder / "whole", {.threads = 1});
  auto const wanted = contents(folder / "whole");
  bool any_resumed = false;
  for (int stop = 0; stop < 20; stop += test_support::repeated(1, 6)) {
    CAPTURE(stop);
    auto const out = folder / "out";
    auto const problem = stop_after(stop / 20.0, plan, out, 1 + stop % 4);
    REQUIRE(problem.code() == cull::errc::cancelled);
    CHECK_FALSE(fs::exists(out));
    CHECK(fs::exists(folder / "out.partial"));
    std::int64_t finished = 0;
    for (auto const& entry : fs::directory_iterator{folder / "out.partial"})
      finished += entry.path().filename().string().starts_with('.') ? 0 : 1;
    any_resumed = any_resumed || finished > 0;
    auto const report = cull::apply(model(), plan, out, {.threads = 1 + stop % 3});
    CHECK(contents(out) == wanted);
    CHECK(report.resumed == finished);
    CHECK_FALSE(fs::exists(folder / "out.partial"));
    fs::remove_all(out);
  }
  CHECK(any_resumed);
}

TEST_CASE(
    "apply: a directory begun with another plan or model is not "
    "continued; a cut journal line counts for nothing") {
  scratch_folder const folder;
  CHECK(stop_after(0.8, oracle_plan("code"), folder / "out").code() == cull::errc::cancelled);
  CHECK(code_of([&] { cull::apply(model(), oracle_plan("term"), folder / "out"); }) == cull::errc::already_exists);
  copy_tree(model_dir(), folder / "newer");
  auto const newer = cull::checkpoint::open(folder / "newer");
  CHECK(code_of([&] { cull::apply(newer, oracle_plan("code"), folder / "out"); }) == cull::errc::already_exists);
  auto const journal = folder / "out.partial/.cull-journal";
  auto const text = slurp(journal);
  spill(journal, text.substr(0, text.size() - 4));
  cull::apply(model(), oracle_plan("code"), folder / "out");
  cull::apply(model(), oracle_plan("code"), folder / "other");
  CHECK(contents(folder / "out") == contents(folder / "other"));
}

TEST_CASE(
    "apply: a finished file that was changed meanwhile is written again: "
    "in size always, in a byte when asked to look") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  auto const first = folder / "out.partial/model-00001-of-00003.safetensors";
  CHECK(stop_after(0.8, plan, folder / "out").code() == cull::errc::cancelled);
  fs::resize_file(first, 100);
  CHECK(cull::apply(model(), plan, folder / "out").resumed == 1);
  CHECK(cull::find_differences(model(), plan, folder / "out").failures.empty());
  fs::remove_all(folder / "out");
  CHECK(stop_after(0.8, plan, folder / "out").code() == cull::errc::cancelled);
  auto text = slurp(first);
  text[text.size() / 2] ^= 1;
  spill(first, text);
  CHECK(cull::apply(model(), plan, folder / "out", {.resume = cull::resume_check::digest}).resumed == 1);
  CHECK(cull::find_differences(model(), plan, folder / "out").failures.empty());
}
