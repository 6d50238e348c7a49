// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/header.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/json_writing.hpp>
#include <cull/checkpoint/safetensors_writer.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/saliency/state.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

inline constexpr char observation_format[] = "cull-observation";
inline constexpr char observation_version[] = "3";

/// Metadata of an observation file, as JSON texts.
struct observation_metadata {
  std::map<std::string, std::string> const& texts;
  std::string const& file;

  [[noreturn]] void refuse(std::string const& why) const { throw error{errc::bad_observation, why, {.file = file}}; }

  std::string text(std::string const& key) const {
    auto const found = texts.find(key);
    if (found == texts.end()) refuse("metadata '" + key + "' is missing; is this an observation file?");
    return found->second;
  }
  template <class T>
  std::vector<T> list(std::string const& key) const {
    try {
      return parse_tree(text(key), file).template get<std::vector<T>>();
    } catch (json::exception const&) {
      refuse("metadata '" + key + "' is not a list of the right kind");
    }
  }
  /// Integers from 0 to 2^31 - 1.
  std::vector<int> numbers(std::string const& key) const {
    std::vector<int> out;
    auto const all = parse_tree(text(key), file);
    for (auto const& each : all) {
      if (!each.is_number_unsigned() || each.template get<std::uint64_t>() > 0x7fffffffu)
        refuse("metadata '" + key + "' is not a list of numbers below 2^31");
      out.push_back(each.template get<int>());
    }
    return out;
  }
  std::vector<std::array<std::uint64_t, 2>> digests() const {
    std::vector<std::array<std::uint64_t, 2>> out;
    for (auto const& hex : list<std::string>("sequences")) {
      if (hex.size() != 32 || hex.find_first_not_of("0123456789abcdef") != std::string::npos)
        refuse("'" + hex + "' is not a digest");
      out.push_back({std::stoull(hex.substr(0, 16), nullptr, 16), std::stoull(hex.substr(16), nullptr, 16)});
    }
    if (std::adjacent_find(out.begin(), out.end(), std::greater_equal<>{}) != out.end())
      refuse("metadata 'sequences' must ascend");
    return out;
  }
};

/// What the file's own checksum covers: all metadata but itself, and every tensor's name, type, shape and bytes, in the order of
/// names. `bytes_of(i)`: those of `tensors[i]`.
template <class Tensor, class BytesOf>
std::string observation_checksum(std::map<std::string, std::string> const& metadata, std::vector<Tensor> const& tensors,
                                 BytesOf&& bytes_of) {
  hasher hash;
  for (auto const& [key, text] : metadata) {
    if (key == "checksum") continue;
    hash.add(key);
    hash.add(text);
  }
  std::map<std::string_view, std::size_t> by_name;
  for (std::size_t i = 0; i < tensors.size(); ++i) by_name[tensors[i].name] = i;
  for (auto const& [tensor, at] : by_name) {
    auto const& t = tensors[at];
    hash.add(tensor);
    hash.add(name(t.type));
    hash.add(static_cast<std::uint64_t>(t.shape.size()));
    for (auto const n : t.shape) hash.add(static_cast<std::uint64_t>(n));
    hash.add(bytes_of(at));
  }
  return hash.hex();
}

inline state_tensor read_state_tensor(tensor_info const& info, std::span<std::byte const> bytes) {
  state_tensor out{info.name, {info.shape.begin(), info.shape.end()}, {}, {}};
  auto const fill = [&](auto& values) {
    values.resize(bytes.size() / 8);
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  };
  if (info.type == dtype::i64) fill(out.i64);
  if (info.type == dtype::f64) fill(out.f64);
  return out;
}

}  // namespace detail

/// Writes an observation as a safetensors file that anyone can open: per measure I64 (counts; limbs of exact sums, value =
/// sum of limb_i * 2^(32 i - 80)) or F64 (maxima), shapes as in `state_tensor`; layers, domains and provenance as metadata.
/// The same observation gives the same bytes; a checksum over all of it is among the metadata. Whole or not at all. Throws
/// `errc::rejected_values`, `errc::already_exists`, `errc::io`.
template <measure... Measures>
void save(observation<Measures...> const& seen, std::filesystem::path const& path, overwrite policy = overwrite::no) {
  auto const state = export_state(seen);
  std::vector<int> experts;
  for (int const layer : seen.layers()) experts.push_back(seen.experts(layer));
  std::vector<std::string> sequences;
  for (auto const& digest : seen.provenance().sequences) sequences.push_back(detail::hex_words(digest));
  std::map<std::string, std::string> metadata{
      {"format", detail::observation_format},         {"version", detail::observation_version},
      {"layers", detail::json_list(seen.layers())},   {"experts", detail::json_list(experts)},
      {"domains", detail::json_list(seen.domains())}, {"model_digest", seen.provenance().model_digest},
      {"settings", seen.provenance().settings},       {"sequences", detail::json_list(sequences)},
  };
  std::vector<tensor_source> tensors;
  for (auto const& t : state) {
    bool const integers = t.f64.empty();
    tensors.push_back({t.name,
                       integers ? dtype::i64 : dtype::f64,
                       {t.shape.begin(), t.shape.end()},
                       integers ? std::as_bytes(std::span{t.i64}) : std::as_bytes(std::span{t.f64})});
  }
  metadata["checksum"] = detail::observation_checksum(metadata, tensors, [&](std::size_t i) { return tensors[i].bytes; });
  write_safetensors(path, metadata, tensors, policy);
}

namespace detail {

/// The layout that the metadata tells, before anything is allocated for it: a file of `size` bytes cannot hold more cells.
inline observation_layout read_layout(observation_metadata const& metadata, std::uint64_t size) {
  auto const layers = metadata.numbers("layers");
  auto const experts = metadata.numbers("experts");
  auto domains = metadata.list<std::string>("domains");
  auto const refuse_unless = [&](bool good, char const* why) {
    if (!good) metadata.refuse(why);
  };
  refuse_unless(!layers.empty() && layers.size() == experts.size(),
                "metadata 'layers' and 'experts' must be lists of one length");
  refuse_unless(layers.front() >= 0 && std::adjacent_find(layers.begin(), layers.end(), std::greater_equal<>{}) == layers.end(),
                "metadata 'layers' must ascend");
  refuse_unless(std::adjacent_find(domains.begin(), domains.end(), std::greater_equal<>{}) == domains.end(),
                "metadata 'domains' must ascend");
  refuse_unless(*std::min_element(experts.begin(), experts.end()) > 0, "metadata 'experts' must be positive");
  auto const most = static_cast<std::uint64_t>(*std::max_element(experts.begin(), experts.end()));
  auto const rows = std::max<std::uint64_t>(domains.size(), 1) * layers.size();
  refuse_unless(most <= size / 8 / rows, "metadata tell of more experts than the file holds");
  return {layers, experts, std::move(domains)};
}

}  // namespace detail

/// Reads what `save` wrote, from the bytes of the file, with the default measures unless told otherwise; other tensors in it are
/// ignored. Throws `errc::bad_observation` (missing, malformed or impossible content), `errc::bad_checksum` (not what was
/// written), and what `parse_safetensors_header` throws.
template <class Observation = default_observation>
Observation parse_observation(std::span<std::byte const> file, std::string const& name) {
  auto const header = parse_safetensors_header(file, file.size(), name);
  auto const bytes_of = [&](tensor_info const& t) {
    return file.subspan(static_cast<std::size_t>(t.begin), static_cast<std::size_t>(t.bytes()));
  };
  detail::observation_metadata const metadata{header.metadata, name};
  if (metadata.text("format") != detail::observation_format) metadata.refuse("is not an observation file");
  if (metadata.text("version") != detail::observation_version) {
    metadata.refuse("has format version '" + metadata.text("version") + "', this program reads version " +
                    detail::observation_version);
  }
  if (metadata.text("checksum") !=
      detail::observation_checksum(header.metadata, header.tensors, [&](std::size_t i) { return bytes_of(header.tensors[i]); })) {
    throw error{errc::bad_checksum, "the content is not what was saved; copy it again", {.file = name}};
  }
  Observation out{detail::read_layout(metadata, file.size())};
  out.provenance() = {metadata.text("model_digest"), metadata.text("settings"), metadata.digests()};
  std::list<state_tensor> read;
  try {
    import_state(out, [&](std::string const& tensor) -> state_tensor const* {
      auto const found =
          std::find_if(header.tensors.begin(), header.tensors.end(), [&](tensor_info const& t) { return t.name == tensor; });
      if (found == header.tensors.end()) return nullptr;
      return &read.emplace_back(detail::read_state_tensor(*found, bytes_of(*found)));
    });
  } catch (error const& problem) {
    if (!problem.where().file.empty()) throw;
    throw error{problem.code(), problem.what(), {.file = name}};
  }
  return out;
}

/// The same from a file. Throws what `source_file` throws, too.
template <class Observation = default_observation>
Observation load_observation(std::filesystem::path const& path) {
  source_file const file{path};
  // The header first: what is no safetensors file is not read whole.
  read_safetensors_header([&](auto from, auto to) { file.read(from, to); }, file.size(), path.string());
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size()));
  file.read(0, bytes);
  return parse_observation<Observation>(bytes, path.string());
}

/// 32 hex digits that stand for what an observation was made from: the sequences and the settings.
inline std::string data_digest(provenance const& from) {
  detail::hasher hash;
  hash.add(from.settings);
  for (auto const& sequence : from.sequences) hash.add(detail::hex_words(sequence));
  return hash.hex();
}

CULL_NAMESPACE_END
