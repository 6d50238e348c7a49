// SPDX-License-Identifier: Apache-2.0
// Writes the malformed headers as files into a directory, and as JSON what cull says to each: "accept" or the code.
#include <checkpoint/malformed.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include <cull/checkpoint/safetensors_file.hpp>

namespace {

std::string verdict(std::filesystem::path const& path) {
  try {
    cull::safetensors_file::open(path);
    return "accept";
  } catch (cull::error const& problem) {
    return std::string{cull::name(problem.code())};
  }
}

/// What only a lenient reader is asked is no case for another reader.
bool is_strict(cull::leniency const& allowed) {
  for (auto const& known : cull::leniency_names) {
    if (allowed.*known.member) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: cull_malformed_corpus DIR\n";
    return 2;
  }
  std::filesystem::path const dir{argv[1]};
  std::filesystem::create_directories(dir);
  nlohmann::json list = nlohmann::json::array();
  for (auto const& each : malformed::header_cases()) {
    if (each.large || !is_strict(each.allowed)) continue;
    auto const name = std::to_string(list.size()) + ".safetensors";
    std::ofstream{dir / name, std::ios::binary} << each.bytes();
    list.push_back({{"file", name}, {"row", each.row}, {"name", each.name}, {"cull", verdict(dir / name)}});
  }
  std::ofstream{dir / "verdicts.json"} << list.dump(1) << '\n';
  return 0;
}
