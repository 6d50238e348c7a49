// SPDX-License-Identifier: Apache-2.0
// Outputs that apply does not begin, and what it leaves untouched then.
#include <doctest/doctest.h>

#include <string>
#include <system_error>

#include "scratch.hpp"
#include "small_model.hpp"

using namespace checkpoint_test;

TEST_CASE("apply: destinations that would destroy something") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  spill(folder / "file", "x");
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "file"); }) == cull::errc::already_exists);
  CHECK(slurp(folder / "file") == "x");
  fs::create_directory(folder / "dir");
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "dir"); }) == cull::errc::already_exists);
  fs::create_symlink("nowhere", folder / "link");
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "link"); }) == cull::errc::already_exists);
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "no/such/dir"); }) == cull::errc::not_found);
  copy_tree(model_dir(), folder / "m");
  auto const copy = cull::checkpoint::open(folder / "m");
  CHECK(contents(folder / "m") == contents(model_dir()));
}

TEST_CASE("apply: an output that is the source, lies in it, holds it or shares files with it") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  copy_tree(model_dir(), folder / "above/m");
  fs::create_directory_symlink("above/m", folder / "alias");
  fs::create_directory_symlink("above", folder / "up.partial");
  for (std::string const twin : {"twin", "begun.partial"}) {
    fs::create_directory(folder / twin);
    for (auto const& [name, text] : contents(model_dir())) fs::create_hard_link(folder / "above/m" / name, folder / twin / name);
  }
  auto const tree = contents(folder.path());
  auto const copy = cull::checkpoint::open(folder / "above/m");
  for (auto const* const out :
       {"above/m", "above/m/", "above/m/pruned", "alias", "alias/pruned", "above", "up", "twin", "begun"}) {
    CAPTURE(out);
    CHECK(cull::name(code_of([&] { cull::apply(copy, plan, folder / out); })) == "same_tree");
  }
  CHECK(contents(folder.path()) == tree);
  cull::apply(copy, plan, folder / "above/beside");
  CHECK(cull::find_differences(copy, plan, folder / "above/beside").failures.empty());
}

TEST_CASE("apply: what cannot be written or listed is refused, by name and before anything is there") {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  auto const refused = [&](cull::checkpoint const& source, fs::path const& to) {
    auto const problem = failure_of([&] { cull::apply(source, oracle_plan(), folder / to); });
    std::error_code absent;
    CHECK_FALSE(fs::exists((folder / to).string() + ".partial", absent));
    return problem;
  };
  auto const source = cull::checkpoint::open(folder / "m");
  fs::create_symlink("loop", folder / "loop");
  CHECK(refused(source, "loop").code() == cull::errc::already_exists);
  CHECK(refused(source, "loop/out").code() == cull::errc::not_found);
  fs::create_symlink("turn.partial", folder / "turn.partial");
  CHECK(cull::name(code_of([&] { cull::apply(source, oracle_plan(), folder / "turn"); })) == "io");

  // A cache of the hub has the bytes beside the snapshot.
  fs::create_directories(folder / "hub/blobs");
  fs::create_directories(folder / "hub/snapshots/1");
  for (auto const& [name, text] : contents(folder / "m")) {
    spill(folder / "hub/blobs" / ("blob-" + name), text);
    fs::create_symlink("../../blobs/blob-" + name, folder / "hub/snapshots/1" / name);
  }
  auto const cached = cull::checkpoint::open(folder / "hub/snapshots/1");
  CHECK(refused(cached, "hub/blobs/out").code() == cull::errc::same_tree);
  CHECK(refused(cached, "hub/snapshots/1/out").code() == cull::errc::same_tree);

  spill(folder / "m/\xffnotes.txt", "x");
  auto const problem = refused(source, "out");
  CHECK(problem.code() == cull::errc::bad_utf8);
  CHECK(mentions(problem.what(), "\\xffnotes.txt: has a name that is no UTF-8"));
}
