// SPDX-License-Identifier: Apache-2.0
// What the tests of files share: a folder that goes away, the shipped model, plans, and files read without the library.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include <cull/checkpoint.hpp>

#include <support/safetensors_lite.hpp>

#include "failures.hpp"

namespace checkpoint_test {

namespace fs = std::filesystem;

class scratch_folder {
 public:
  scratch_folder() : path_(fs::temp_directory_path() / ("cull-checkpoint-" + std::to_string(std::random_device{}()))) {
    fs::create_directories(path_);
  }
  ~scratch_folder() { fs::remove_all(path_); }
  scratch_folder(scratch_folder const&) = delete;
  scratch_folder& operator=(scratch_folder const&) = delete;
  fs::path operator/(fs::path const& name) const { return path_ / name; }
  fs::path const& path() const { return path_; }

 private:
  fs::path path_;
};

inline fs::path model_dir() { return fs::path{CULL_TEST_DATA} / "tiny-glm/model"; }

inline std::string slurp(fs::path const& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}
inline nlohmann::json read_json(fs::path const& path) { return nlohmann::json::parse(slurp(path)); }
inline void spill(fs::path const& path, std::string const& text) {
  std::ofstream out{path, std::ios::binary};
  out << text;
}

/// The shipped model, opened once.
inline cull::checkpoint const& model() {
  static auto const opened = cull::checkpoint::open(model_dir());
  return opened;
}

/// The plan of oracle/keep.json for a set, criterion reap.
inline cull::pruning_plan oracle_plan(std::string const& set = "code") {
  auto const keep = nlohmann::json::parse(slurp(fs::path{CULL_TEST_DATA} / "tiny-glm/oracle/keep.json"));
  cull::pruning_plan plan;
  for (std::size_t i = 0; i < keep.at("layers").size(); ++i) {
    plan.layers[keep.at("layers").at(i).get<int>()] = keep.at("sets").at(set).at("reap").at(i).get<std::vector<int>>();
  }
  return plan;
}

/// All tensors of a directory, by the independent reader.
inline std::map<std::string, test_support::tensor> all_tensors(fs::path const& dir) {
  std::map<std::string, test_support::tensor> out;
  for (auto const& entry : fs::directory_iterator{dir}) {
    if (entry.path().extension() == ".safetensors") out.merge(test_support::read_safetensors(entry.path().string()));
  }
  return out;
}

/// File names and contents, for comparing directories.
inline std::map<std::string, std::string> contents(fs::path const& dir) {
  std::map<std::string, std::string> out;
  for (auto const& entry : fs::recursive_directory_iterator{dir}) {
    if (entry.is_regular_file()) out[entry.path().lexically_relative(dir).string()] = slurp(entry.path());
  }
  return out;
}

/// A writable copy of a directory.
inline void copy_tree(fs::path const& from, fs::path const& to) {
  for (auto const& [name, text] : contents(from)) {
    fs::create_directories((to / name).parent_path());
    spill(to / name, text);
  }
}

}  // namespace checkpoint_test
