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
#include <cull/checkpoint/directory_names.hpp>
#include <cull/checkpoint/file_layout.hpp>
#include <cull/checkpoint/index.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/json_writing.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/model_tree.hpp>
#include <cull/checkpoint/order.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/checkpoint/write_job.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/utf8.hpp>

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
  ledger out;
  for (auto const& shard : shards) add_all(out, model.family(), model.hidden_layers(), shard.layout.tensors);
  return ordered(std::move(out));
}

/// The text of an index without its long map, which was read before.
struct index_frame {
  std::string text = {};  ///< empty: there is none
  bool ends_line = true;

  static index_frame read(std::filesystem::path const& path) {
    auto const whole = read_text(path);
    return {without_member(whole, "weight_map"), whole.ends_with('\n')};
  }
};

/// The index as transformers writes it; metadata of the source stays, its last newline or none too, total_size is computed.
inline std::string index_text(output_layout const& of, index_frame const& source) {
  auto root = parse_tree(source.text.empty() ? "{}" : source.text, index_file_name);
  if (!root.contains("metadata") || root.at("metadata").is_null()) root["metadata"] = json::object();
  root["metadata"]["total_size"] = of.ledger.bytes;
  root["weight_map"] = json::object();
  auto const frame = root.dump(2, ' ', true);
  std::vector<std::pair<std::string_view, std::string_view>> entries;
  std::size_t size = frame.size();
  for (auto const& shard : of.shards) {
    for (auto const& t : shard.layout.tensors) {
      entries.emplace_back(t.name, shard.name);
      size += t.name.size() + shard.name.size() + 12;
    }
  }
  sort_runs(entries, std::less<>{});
  // The document's own member: others of that name lie deeper.
  constexpr std::string_view place = "\n  \"weight_map\": {";
  auto const inside = frame.find(place) + place.size();
  std::string text;
  text.reserve(size);
  text.append(frame, 0, inside);
  char const* separator = "\n    ";
  for (auto const& [tensor, shard] : entries) {
    append_json_string(text.append(separator), tensor, json_ascii::yes);
    append_json_string(text.append(": "), shard, json_ascii::yes);
    separator = ",\n    ";
  }
  text.append("\n  ").append(frame, inside);
  return source.ends_line ? text.append("\n") : text;
}

/// `use(path)` for the regular files of a tree, by paths relative to `top`; neither what begins with a dot nor directories behind
/// links.
template <class Use>
void each_visible_file(std::filesystem::path const& top, std::filesystem::path const& folder, Use&& use) {
  for (auto const& name : names_in(top / folder)) {
    if (name.starts_with('.')) continue;
    auto const path = folder / name;
    auto const own = std::filesystem::symlink_status(top / path);
    if (std::filesystem::is_directory(own))
      each_visible_file(top, path, use);
    else if (std::error_code unreadable; std::filesystem::is_regular_file(top / path, unreadable))
      use(path);
  }
}

/// Sorts the other files of the model's directory into those that are copied
/// and weights that stay behind. Texts come first. Throws `errc::outside_tree`
/// where one would be copied through a link that leaves the model, `errc::not_found`
/// where one was not downloaded, `errc::bad_utf8` where the manifest cannot
/// name one.
inline void find_side_files(checkpoint const& model, output_layout& out) {
  namespace fs = std::filesystem;
  auto const written = [&](fs::path const& path) {
    auto const is_text = [&](auto const& t) { return path == t.name; };
    auto const is_shard = [&](auto const& s) { return path == s.path().filename(); };
    return path == manifest_file_name || path == index_file_name || std::any_of(out.texts.begin(), out.texts.end(), is_text) ||
           std::any_of(model.shards().begin(), model.shards().end(), is_shard);
  };
  model_tree const tree{model.dir(), model.allowed()};
  each_visible_file(model.dir(), {}, [&](fs::path const& path) {
    if (written(path)) return;
    auto const kind = path.extension().string();
    bool const weights = kind == ".safetensors" || kind == ".bin" || kind == ".pt" || kind == ".pth" || kind == ".gguf";
    if (!weights && find_bad_utf8(path.native()) != std::string_view::npos) {
      throw error{errc::bad_utf8,
                  "has a name that is no UTF-8, which no manifest can list: rename it, or remove it",
                  {.file = (model.dir() / path).string()}};
    }
    if (!weights && holds_lfs_pointer(tree.checked(model.dir() / path))) {
      throw error{errc::not_found,
                  "is a git-lfs pointer, which would go with the model in the file's place: run 'git lfs pull', or remove it",
                  {.file = (model.dir() / path).string()}};
    }
    (weights ? out.left_behind : out.side_files).push_back(path);
  });
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
