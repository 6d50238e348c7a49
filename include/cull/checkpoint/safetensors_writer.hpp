// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <cull/checkpoint/file_layout.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A tensor to be written; `bytes` little endian, row-major.
struct tensor_source {
  std::string name;
  dtype type = dtype::u8;
  std::vector<std::uint64_t> shape;
  std::span<std::byte const> bytes;
};

/// Writes a safetensors file, whole or not at all. Deterministic: the same tensors and metadata give the same bytes in any order.
/// Throws `errc::shape_mismatch` where bytes do not fit the shape, and what `lay_out` and `output_file` throw.
template <checkpoint_io Io>
void write_safetensors(Io& io, std::filesystem::path const& path, std::map<std::string, std::string> const& metadata,
                       std::vector<tensor_source> const& tensors, overwrite policy = overwrite::no) {
  std::map<std::string, std::span<std::byte const>> data;
  std::vector<tensor_info> infos;
  for (auto const& t : tensors) {
    infos.push_back({.name = t.name, .type = t.type, .shape = t.shape});
    if (!data.emplace(t.name, t.bytes).second)
      throw error{errc::duplicate_key, "is given twice", {.file = path.string(), .tensor = t.name}};
  }
  auto const layout = lay_out(metadata, std::move(infos));
  output_file<Io> out{io, path, policy};
  out.write(layout.header);
  for (auto const& t : layout.tensors) {
    auto const bytes = data.at(t.name);
    if (bytes.size() != t.bytes()) {
      throw error{errc::shape_mismatch,
                  std::to_string(bytes.size()) + " bytes given, shape and type ask for " + std::to_string(t.bytes()),
                  {.file = path.string(), .tensor = t.name}};
    }
    out.write(bytes);
  }
  out.publish();
}
inline void write_safetensors(std::filesystem::path const& path, std::map<std::string, std::string> const& metadata,
                              std::vector<tensor_source> const& tensors, overwrite policy = overwrite::no) {
  posix_io io;
  write_safetensors(io, path, metadata, tensors, policy);
}

CULL_NAMESPACE_END
