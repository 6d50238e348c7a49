// SPDX-License-Identifier: Apache-2.0
// What the engine's tests share: the model tiny-glm and the answers that transformers gave for it.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <engine/decoder.hpp>

#include <support/safetensors_lite.hpp>

namespace fixture {

namespace fs = std::filesystem;

inline fs::path root() { return fs::path{CULL_TEST_DATA} / "tiny-glm"; }

inline cull::checkpoint const& model() {
  static auto const opened = cull::checkpoint::open(root() / "model");
  return opened;
}

inline nlohmann::json json(fs::path const& path) { return nlohmann::json::parse(std::ifstream{path}); }

inline std::vector<engine::sequence> sequences(std::string const& file) { return engine::read_sequences(root() / file, 272); }

/// The tensors of one file under oracle/.
class oracle {
 public:
  explicit oracle(std::string const& name)
      : tensors_(test_support::read_safetensors((root() / "oracle" / (name + ".safetensors")).string())) {}

  bool has(std::string const& name) const { return tensors_.contains(name); }
  std::vector<std::int64_t> shape(std::string const& name) const { return tensors_.at(name).shape; }
  template <class T>
  std::vector<T> values(std::string const& name) const {
    auto const& bytes = tensors_.at(name).bytes;
    REQUIRE(bytes.size() % sizeof(T) == 0);
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }

  /// ids.0, ids.1, ... or a lone `ids`.
  std::vector<engine::sequence> sequences() const {
    std::vector<engine::sequence> out;
    if (has("ids")) out.push_back({.id = "0", .domain = "all", .ids = values<std::int32_t>("ids"), .weights = {}});
    for (int i = 0; has("ids." + std::to_string(i)); ++i) {
      out.push_back(
          {.id = std::to_string(i), .domain = "all", .ids = values<std::int32_t>("ids." + std::to_string(i)), .weights = {}});
    }
    return out;
  }

 private:
  decltype(test_support::read_safetensors(std::string{})) tensors_;
};

/// L2 norm of the difference over that of the answer.
inline double relative_error(cull::matrix_view<float const> ours, std::vector<float> const& answer) {
  REQUIRE(static_cast<std::size_t>(ours.rows() * ours.cols()) == answer.size());
  double difference = 0, size = 0;
  for (std::int64_t t = 0; t < ours.rows(); ++t) {
    for (std::int64_t i = 0; i < ours.cols(); ++i) {
      double const wanted = answer[static_cast<std::size_t>(t * ours.cols() + i)];
      difference += (ours(t, i) - wanted) * (ours(t, i) - wanted);
      size += wanted * wanted;
    }
  }
  return std::sqrt(difference / size);
}

/// A folder that is gone at the end of its scope.
class scratch_folder {
 public:
  scratch_folder() : path_(fs::temp_directory_path() / ("cull-engine-" + std::to_string(std::random_device{}()))) {}
  ~scratch_folder() { fs::remove_all(path_); }
  scratch_folder(scratch_folder const&) = delete;
  scratch_folder& operator=(scratch_folder const&) = delete;
  fs::path const& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace fixture
