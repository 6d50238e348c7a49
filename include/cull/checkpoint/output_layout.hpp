// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/file_layout.hpp>
#include <cull/checkpoint/index.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/model_tree.hpp>
#include <cull/checkpoint/write_job.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Bytes of a tensor that are not the source's: a text, or what a pure function of the source's bytes makes.
struct made_bytes {
  std::function<void(byte_sink const&)> make = {};
  std::string text = {};  ///< where there is no function
};

/// Where a tensor of the output comes from: a whole tensor of the source, some
/// places of one axis, or a function that makes it.
struct tensor_origin {
  tensor_info const* source = nullptr;       ///< null: made
  std::vector<int> const* places = nullptr;  ///< null: all
  std::size_t axis = 0;
  std::shared_ptr<made_bytes const> made = {};
};

/// One safetensors file of the output.
struct output_shard {
  std::string name;
  file_layout layout;
  std::vector<tensor_origin> origins;  ///< beside `layout.tensors`
};

/// A file of the output that is written as text.
struct text_file {
  std::string name;
  std::string text;
};

/// Everything about an output directory before a byte is written: a pure
/// function of headers, config and what is asked for. Refers to the checkpoint.
struct output_layout {
  std::vector<output_shard> shards;
  std::vector<text_file> texts;                    ///< config.json, hf_quant_config.json, index, ...
  std::vector<std::filesystem::path> side_files;   ///< relative; copied as they are
  std::vector<std::filesystem::path> left_behind;  ///< weights that are not part of the model
  cull::ledger ledger;
  std::uint64_t bytes = 0;    ///< of all files but the manifest
  std::string made_for = {};  ///< what tensors that are made depend on, beside the source
};

inline constexpr char plan_file_name[] = "cull-plan.json";

namespace detail {

inline ledger ledger_of(checkpoint const& model, std::vector<output_shard> const& shards) {
  std::vector<tensor_info> all;
  for (auto const& shard : shards) all.insert(all.end(), shard.layout.tensors.begin(), shard.layout.tensors.end());
  return make_ledger(model.family(), model.hidden_layers(), all);
}

/// The index as transformers writes it; metadata of the source stays, its last
/// newline or none too, total_size is computed. `source`: the text of the
/// source's index, or empty where it has none.
inline std::string index_text(output_layout const& of, std::string const& source) {
  auto root = json::object();
  if (!source.empty()) {
    // The map was read before and may be long: what is needed is the rest.
    root = json::parse(source, [](int depth, json::parse_event_t event, json const& value) {
      return depth != 1 || event != json::parse_event_t::key || value != "weight_map";
    });
  }
  root["metadata"]["total_size"] = of.ledger.bytes;
  root["weight_map"] = json::object();
  auto text = root.dump(2, ' ', true);
  std::vector<std::pair<std::string_view, std::string_view>> entries;
  for (auto const& shard : of.shards) {
    for (auto const& t : shard.layout.tensors) entries.emplace_back(t.name, shard.name);
  }
  std::sort(entries.begin(), entries.end());
  std::string map;
  for (auto const& [tensor, shard] : entries) {
    map += (map.empty() ? "\n    " : ",\n    ") + json(tensor).dump(-1, ' ', true) + ": " + json(shard).dump(-1, ' ', true);
  }
  // The document's own member: others of that name lie deeper.
  constexpr std::string_view place = "\n  \"weight_map\": {";
  text.insert(text.find(place) + place.size(), map + "\n  ");
  return text + (source.empty() || source.ends_with('\n') ? "\n" : "");
}

/// Sorts the other files of the model's directory into those that are copied
/// and weights that stay behind. Texts come first. Throws `errc::outside_tree`
/// where one would be copied through a link that leaves the model.
inline void find_side_files(checkpoint const& model, output_layout& out) {
  namespace fs = std::filesystem;
  auto const written = [&](fs::path const& path) {
    auto const is_text = [&](auto const& t) { return path == t.name; };
    auto const is_shard = [&](auto const& s) { return path == s.path().filename(); };
    return path == manifest_file_name || path == index_file_name || std::any_of(out.texts.begin(), out.texts.end(), is_text) ||
           std::any_of(model.shards().begin(), model.shards().end(), is_shard);
  };
  model_tree const tree{model.dir(), model.allowed()};
  for (fs::recursive_directory_iterator at{model.dir()}, end; at != end; ++at) {
    auto const path = at->path().lexically_relative(model.dir());
    if (path.filename().string().starts_with('.')) {
      if (at->is_directory()) at.disable_recursion_pending();
    } else if (at->is_regular_file() && !written(path)) {
      auto const kind = path.extension().string();
      bool const weights = kind == ".safetensors" || kind == ".bin" || kind == ".pt" || kind == ".pth" || kind == ".gguf";
      if (!weights) tree.checked(at->path());
      (weights ? out.left_behind : out.side_files).push_back(path);
    }
  }
  std::sort(out.side_files.begin(), out.side_files.end());
  std::sort(out.left_behind.begin(), out.left_behind.end());
}

/// The bytes of all files that the layout names.
inline std::uint64_t total_bytes(checkpoint const& model, output_layout const& of) {
  std::uint64_t out = 0;
  for (auto const& shard : of.shards) out += shard.layout.size;
  for (auto const& text : of.texts) out += text.text.size();
  for (auto const& path : of.side_files) out += std::filesystem::file_size(model.dir() / path);
  return out;
}

}  // namespace detail

CULL_NAMESPACE_END
