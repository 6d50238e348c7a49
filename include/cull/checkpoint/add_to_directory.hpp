// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
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

/// Throws `errc::already_exists` where a file of that name cannot be added to a directory with those files of the model.
inline void check_addable(std::string const& name, std::set<std::string> const& model, std::filesystem::path const& dir) {
  char const* why = nullptr;
  if (!may_be_added(name))
    why = "cannot be added: the name belongs to the model";
  else if (!original_name(name).empty())
    why = "cannot be added: the source's own files are kept under such names";
  else if (!model.contains(name) && is_taken(model, name))
    why = "cannot be added: the model has a folder of that name; rename it in the source, or go without what is added";
  if (why != nullptr) throw error{errc::already_exists, why, {.file = (dir / name).string()}};
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

  /// Each file appears whole; `before` is called with its name first. The manifest is the caller's to write. Throws
  /// `errc::already_exists` (of the names one cannot be added; nothing was written), `errc::bad_name` (others were made).
  template <class Before>
  void add(file_adder const& adder, std::map<std::string, std::string> const& digests, Before&& before) {
    if (make_way(adder.names, before)) write_manifest();
    auto const files = adder.make(dir_, digests);
    std::set<std::string> const wanted{adder.names.begin(), adder.names.end()};
    std::set<std::string> made;
    for (auto const& file : files) made.insert(file.name);
    if (made != wanted) {
      throw error{errc::bad_name,
                  "what is added is not what was announced: " + json(made).dump() + " instead of " + json(wanted).dump(),
                  {.file = dir_.string()}};
    }
    for (auto const& file : files) put(file.name, file.text, before);
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
  /// Keeps the model's own files of those names under others; true where there was one. From then on what has the name counts as
  /// added, so that whoever makes it sees the directory as it will be.
  template <class Before>
  bool make_way(std::vector<std::string> const& names, Before&& before) {
    std::set<std::string> model;
    for (auto const& [name, file] : files_) {
      if (!added_.contains(name)) model.insert(name);
    }
    for (auto const& name : names) {
      check_addable(name, model, dir_);
      refuse_stray(name);
      if (model.contains(name)) refuse_stray(kept_name(name, model));
    }
    bool moved = false;
    for (auto const& name : names) {
      if (!model.contains(name)) continue;
      put(kept_name(name, model), read_whole(io_, dir_ / name), before);
      added_.insert(name);
      moved = true;
    }
    return moved;
  }
  void refuse_stray(std::string const& name) const {
    if (files_.contains(name) || is_absent(io_, dir_ / name)) return;
    throw error{errc::already_exists,
                "is there, the manifest does not list it, and a file of that name is to be added; move it away",
                {.file = (dir_ / name).string()}};
  }

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
