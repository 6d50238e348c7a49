// SPDX-License-Identifier: Apache-2.0
// A reader of safetensors files that shares nothing with the library's own: tests read oracles and results through it.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace test_support {

struct tensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<unsigned char> bytes;

  template <class T>
  std::vector<T> as() const {
    if (bytes.size() % sizeof(T) != 0) throw std::runtime_error("tensor does not hold whole values");
    std::vector<T> out(bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};

inline std::vector<unsigned char> read_bytes(std::string const& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>{in}, {}};
}

inline nlohmann::json read_header(std::vector<unsigned char> const& file, std::size_t* data_begin) {
  std::uint64_t size = 0;
  std::memcpy(&size, file.data(), 8);
  *data_begin = 8 + static_cast<std::size_t>(size);
  return nlohmann::json::parse(file.begin() + 8, file.begin() + static_cast<std::ptrdiff_t>(*data_begin));
}

inline std::map<std::string, tensor> read_safetensors(std::string const& path) {
  auto const file = read_bytes(path);
  std::size_t begin = 0;
  auto const header = read_header(file, &begin);
  std::map<std::string, tensor> out;
  for (auto const& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    auto const from = file.begin() + static_cast<std::ptrdiff_t>(begin + entry.at("data_offsets").at(0).get<std::size_t>());
    auto const to = file.begin() + static_cast<std::ptrdiff_t>(begin + entry.at("data_offsets").at(1).get<std::size_t>());
    out[name] = {entry.at("dtype"), entry.at("shape"), {from, to}};
  }
  return out;
}

inline std::map<std::string, std::string> read_metadata(std::string const& path) {
  std::size_t begin = 0;
  auto const header = read_header(read_bytes(path), &begin);
  if (!header.contains("__metadata__")) return {};
  return header.at("__metadata__").get<std::map<std::string, std::string>>();
}

}  // namespace test_support
