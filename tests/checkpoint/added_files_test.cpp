// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>

#include <cull/checkpoint/added_files.hpp>

#include "scratch.hpp"

namespace {

namespace fs = std::filesystem;

/// A directory with a manifest as apply leaves one.
fs::path complete(fs::path const& dir) {
  fs::create_directories(dir);
  std::vector<cull::written_file> files;
  for (auto const* name : {"config.json", "README.md", "generation_config.json", "tokenizer.json"}) {
    cull::write_file(dir / name, std::string{"{\"of\": \""} + name + "\"}");
    files.push_back(cull::detail::digest_of(dir / name, name));
  }
  cull::write_file(dir / cull::manifest_file_name, cull::manifest_text("0", files));
  return dir;
}

cull::errc refusal(fs::path const& dir, std::string const& name) {
  try {
    cull::add_files(dir, {{name, "text"}});
  } catch (cull::error const& problem) {
    return problem.code();
  }
  return {};
}

}  // namespace

TEST_CASE("added files: the source's card is kept beside, the manifest lists what was added and nothing else has changed") {
  checkpoint_test::scratch_folder const scratch;
  auto const dir = complete(scratch.path() / "model");
  auto const before = cull::detail::read_manifest(dir);
  for (int again = 0; again < 2; ++again) {
    cull::add_files(dir, {{"README.md", "ours"}, {"docker-compose.yml", "x"}});
    auto const after = cull::detail::read_manifest(dir);
    CHECK(cull::detail::added_names(after) == std::vector<std::string>{"README.base.md", "README.md", "docker-compose.yml"});
    CHECK(cull::detail::slurp(dir / "README.base.md") == "{\"of\": \"README.md\"}");
    CHECK(cull::detail::slurp(dir / "README.md") == "ours");
    CHECK(after.at("files").at("README.base.md") == before.at("files").at("README.md"));
    for (auto const* name : {"config.json", "generation_config.json", "tokenizer.json"})
      CHECK(after.at("files").at(name) == before.at("files").at(name));
    CHECK(after.at("files").size() == before.at("files").size() + 2);
  }
}

TEST_CASE("added files: names of the model, paths and kinds that loaders read are refused, and an incomplete directory") {
  checkpoint_test::scratch_folder const scratch;
  auto const dir = complete(scratch.path() / "model");
  auto const manifest = cull::detail::slurp(dir / cull::manifest_file_name);
  for (auto const* name : {"config.json", "tokenizer.json", "model.safetensors", "merges.txt", "chat_template.jinja", "../x.md",
                           ".x.md", "", "cull-manifest.json", "cull-plan.json"}) {
    CAPTURE(name);
    CHECK(refusal(dir, name) == cull::errc::already_exists);
  }
  CHECK(cull::detail::slurp(dir / cull::manifest_file_name) == manifest);
  cull::write_file(dir / "notes.md", "nobody's");
  CHECK(refusal(dir, "notes.md") == cull::errc::already_exists);
  cull::write_file(dir / "README.base.md", "nobody's");
  CHECK(refusal(dir, "README.md") == cull::errc::already_exists);
  CHECK(refusal(dir, "README.base.2.md") == cull::errc::already_exists);
  CHECK(cull::detail::slurp(dir / cull::manifest_file_name) == manifest);
  fs::remove(dir / cull::manifest_file_name);
  CHECK(refusal(dir, "new.md") == cull::errc::not_found);
}

TEST_CASE("added files: a source that has cull's own names keeps all of its files, however often it was pruned") {
  checkpoint_test::scratch_folder const scratch;
  auto const dir = scratch.path() / "model";
  std::vector<std::string> names{"config.json"};
  auto const add = [&] { cull::add_files(dir, {{"README.md", "ours"}, {"generation_config.json", "{}"}, {"SHA256SUMS", "list"}}); };
  for (int generation = 1; generation <= 4; ++generation) {
    // The directory as apply would take it over from the generation before.
    fs::create_directories(dir);
    std::vector<cull::written_file> files;
    for (auto const& name : names) {
      if (!fs::exists(dir / name)) cull::write_file(dir / name, name);
      files.push_back(cull::detail::digest_of(dir / name, name));
    }
    cull::write_file(dir / cull::manifest_file_name, cull::manifest_text("0", files), cull::overwrite::yes);
    cull::write_file(dir / "README.md", "card " + std::to_string(generation), cull::overwrite::yes);
    if (generation == 1) fs::remove(dir / "README.md");
    add();
    add();
    names.clear();
    for (auto const& file : cull::detail::files_of(cull::detail::read_manifest(dir))) names.push_back(file.name);
  }
  CHECK(names == std::vector<std::string>{"README.base.2.md", "README.base.3.md", "README.base.md", "README.md",
                                          "SHA256SUMS", "SHA256SUMS.base", "SHA256SUMS.base.2", "SHA256SUMS.base.3", "config.json",
                                          "generation_config.base.2.json", "generation_config.base.3.json",
                                          "generation_config.base.json", "generation_config.json"});
  CHECK(cull::detail::slurp(dir / "README.base.md") == "card 2");
  CHECK(cull::detail::slurp(dir / "README.base.3.md") == "card 4");
}

TEST_CASE("added files: those that somebody has removed are listed no more") {
  checkpoint_test::scratch_folder const scratch;
  auto const dir = complete(scratch.path() / "model");
  cull::add_files(dir, {{"page.html", "x"}, {"serve.yml", "x"}});
  fs::remove(dir / "page.html");
  cull::add_files(dir, {{"serve.yml", "y"}});
  auto const after = cull::detail::read_manifest(dir);
  CHECK(cull::detail::added_names(after) == std::vector<std::string>{"serve.yml"});
  CHECK_FALSE(after.at("files").contains("page.html"));
}
