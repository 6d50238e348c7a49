// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <list>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/safetensors_file.hpp>
#include <cull/checkpoint/safetensors_writer.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/saliency/state.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

inline constexpr char observation_format[] = "cull-observation";
inline constexpr char observation_version[] = "1";

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
      return parse_json(text(key), file).template get<std::vector<T>>();
    } catch (json::exception const&) {
      refuse("metadata '" + key + "' is not a list of the right kind");
    }
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

inline state_tensor read_state_tensor(safetensors_file const& file, tensor_info const& info) {
  state_tensor out{info.name, {info.shape.begin(), info.shape.end()}, {}, {}};
  auto const bytes = file.bytes(info);
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
/// The same observation gives the same bytes. Whole or not at all. Throws `errc::rejected_values`, `errc::already_exists`,
/// `errc::io`.
template <measure... Measures>
void save(observation<Measures...> const& seen, std::filesystem::path const& path, overwrite policy = overwrite::no) {
  auto const state = export_state(seen);
  std::vector<int> experts;
  for (int const layer : seen.layers()) experts.push_back(seen.experts(layer));
  std::vector<std::string> sequences;
  for (auto const& digest : seen.provenance().sequences) sequences.push_back(detail::hex_words(digest));
  std::map<std::string, std::string> const metadata{
      {"format", detail::observation_format},           {"version", detail::observation_version},
      {"layers", detail::json(seen.layers()).dump()},   {"experts", detail::json(experts).dump()},
      {"domains", detail::json(seen.domains()).dump()}, {"model_digest", seen.provenance().model_digest},
      {"settings", seen.provenance().settings},         {"sequences", detail::json(sequences).dump()},
  };
  std::vector<tensor_source> tensors;
  for (auto const& t : state) {
    bool const integers = t.f64.empty();
    tensors.push_back({t.name,
                       integers ? dtype::i64 : dtype::f64,
                       {t.shape.begin(), t.shape.end()},
                       integers ? std::as_bytes(std::span{t.i64}) : std::as_bytes(std::span{t.f64})});
  }
  write_safetensors(path, metadata, tensors, policy);
}

/// Reads what `save` wrote, with the default measures unless told otherwise; other tensors in the file are ignored.
/// Throws `errc::bad_observation`, and what `safetensors_file` throws.
template <class Observation = default_observation>
Observation load_observation(std::filesystem::path const& path) {
  safetensors_file const file{path};
  auto const name = path.string();
  detail::observation_metadata const metadata{file.metadata(), name};
  if (metadata.text("format") != detail::observation_format) metadata.refuse("is not an observation file");
  if (metadata.text("version") != detail::observation_version) {
    metadata.refuse("has format version '" + metadata.text("version") + "', this program reads version " +
                    detail::observation_version);
  }
  Observation out{
      observation_layout{metadata.list<int>("layers"), metadata.list<int>("experts"), metadata.list<std::string>("domains")}};
  out.provenance() = {metadata.text("model_digest"), metadata.text("settings"), metadata.digests()};
  std::list<state_tensor> read;
  try {
    import_state(out, [&](std::string const& tensor) -> state_tensor const* {
      auto const* const info = file.find(tensor);
      return info == nullptr ? nullptr : &read.emplace_back(detail::read_state_tensor(file, *info));
    });
  } catch (error const& problem) {
    if (!problem.where().file.empty()) throw;
    throw error{problem.code(), problem.what(), {.file = name}};
  }
  return out;
}

CULL_NAMESPACE_END
