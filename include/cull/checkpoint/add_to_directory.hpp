// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/added_file.hpp>
#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/io/io_file.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Names in a manifest's "added".
inline std::vector<std::string> added_names(json const& manifest) {
  std::vector<std::string> out;
  if (!manifest.contains("added") || !manifest.at("added").is_array()) return out;
  for (auto const& name : manifest.at("added")) {
    if (name.is_string()) out.push_back(name.get<std::string>());
  }
  return out;
}

/// A whole small file of an `Io`.
template <checkpoint_io Io>
std::string read_whole(Io& io, std::filesystem::path const& path) {
  io_file<Io> const file{io, uninterrupted([&] { return io.open_read(path); }), path, "cannot be opened for reading"};
  std::string out(static_cast<std::size_t>(file.examine().size), '\0');
  file.read(0, std::as_writable_bytes(std::span{out}));
  return out;
}

/// A directory with a manifest, to which files are added that are no part of the model.
template <checkpoint_io Io>
class directory_additions {
 public:
  /// `files`: all of the directory but its manifest; `added`: those of them that are no part of the model.
  directory_additions(Io& io, std::filesystem::path dir, std::string plan_digest, std::vector<written_file> const& files,
                      std::set<std::string> added)
      : io_(io), dir_(std::move(dir)), plan_digest_(std::move(plan_digest)), added_(std::move(added)) {
    for (auto const& file : files) files_[file.name] = file;
  }

  /// Each file appears whole; `before` is called with its name first. Throws `errc::already_exists` (the name is the model's).
  template <class Before>
  void add(added_file const& file, Before&& before) {
    auto const moved = moved_name(file.name);
    bool const theirs = !added_.contains(file.name) && !is_absent(io_, dir_ / file.name);
    bool const movable = may_replace(file.name) && (added_.contains(moved) || is_absent(io_, dir_ / moved));
    if (!may_be_added(file.name) || (theirs && !movable)) {
      throw error{errc::already_exists, "cannot be added: the name belongs to the model", {.file = (dir_ / file.name).string()}};
    }
    if (theirs) put(moved, read_whole(io_, dir_ / file.name), before);
    put(file.name, file.text, before);
  }

  std::set<std::string> const& added() const { return added_; }
  std::vector<written_file> files() const {
    std::vector<written_file> out;
    for (auto const& [name, file] : files_) out.push_back(file);
    return out;
  }
  /// The manifest as the directory now is; its text is given back.
  std::string write_manifest() const {
    auto text = manifest_text(plan_digest_, files(), {added_.begin(), added_.end()});
    write_file(io_, dir_ / manifest_file_name, text, overwrite::yes);
    return text;
  }

 private:
  template <class Before>
  void put(std::string const& name, std::string const& text, Before&& before) {
    before(name);
    write_file(io_, dir_ / name, text, overwrite::yes);
    files_[name] = {name, text.size(), hex_digest(std::as_bytes(std::span{text}))};
    added_.insert(name);
  }

  Io& io_;
  std::filesystem::path dir_;
  std::string plan_digest_;
  std::map<std::string, written_file> files_;
  std::set<std::string> added_;
};

}  // namespace detail
CULL_NAMESPACE_END
