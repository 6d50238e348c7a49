// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/index.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// "model-00003-of-00007.safetensors" taken apart; nothing for other names.
struct shard_number {
  std::string stem;  ///< "model"
  std::size_t digits = 0;
  int number = 0;

  static std::optional<shard_number> parse(std::string_view name) {
    constexpr std::string_view end = ".safetensors", of = "-of-";
    if (!name.ends_with(end)) return std::nullopt;
    name.remove_suffix(end.size());
    auto const total = name.rfind(of);
    auto const dash = total == std::string_view::npos ? total : name.rfind('-', total - 1);
    if (total == std::string_view::npos || dash == std::string_view::npos) return std::nullopt;
    auto const digits = name.substr(dash + 1, total - dash - 1), count = name.substr(total + of.size());
    auto const all_digits = [](std::string_view s) {
      return !s.empty() && s.size() <= 8 && s.find_first_not_of("0123456789") == std::string_view::npos;
    };
    if (!all_digits(digits) || !all_digits(count)) return std::nullopt;
    return shard_number{std::string{name.substr(0, dash)}, digits.size(), std::stoi(std::string{digits})};
  }
  static std::string name(std::string const& stem, std::size_t digits, std::size_t number, std::size_t count) {
    auto const padded = [&](std::size_t n) {
      auto const text = std::to_string(n);
      return std::string(digits > text.size() ? digits - text.size() : 0, '0') + text;
    };
    return stem + "-" + padded(number) + "-of-" + padded(count) + ".safetensors";
  }
};

/// Sorts a model's tensors, and those made of them, into the shards of the
/// output.
///
/// Without `shard_bytes` the shards are the source's: those that have lost all
/// their tensors vanish, and the numbers of the others close up. With it,
/// tensors go one after another, in the source's order, into shards of at most
/// so many bytes of tensors, and of a header that the hub reads; one that is
/// larger has a shard to itself. The one file by which a directory without an
/// index is known as a model stays even where nothing is left for it.
class shard_collector {
 public:
  explicit shard_collector(checkpoint const& model, std::uint64_t shard_bytes = 0)
      : model_(model), shard_bytes_(shard_bytes), groups_(model.shards().size()) {}

  void add(int shard, tensor_info tensor, tensor_origin origin) {
    groups_[static_cast<std::size_t>(shard)].push_back({std::move(tensor), std::move(origin)});
  }

  std::vector<output_shard> shards() && { return shard_bytes_ == 0 ? kept() : cut(); }

 private:
  struct member {
    tensor_info tensor;
    tensor_origin origin;

    std::uint64_t bytes() const { return tensor.elements() * static_cast<std::uint64_t>(bits(tensor.type)) / 8; }
  };

  std::vector<output_shard> kept() {
    std::vector<output_shard> out;
    bool const indexed = std::filesystem::exists(model_.dir() / index_file_name);
    for (std::size_t s = 0; s < groups_.size(); ++s) {
      auto const name = model_.shards()[s].path().filename().string();
      if (groups_[s].empty() && (indexed || name != single_file_name)) continue;
      auto metadata = model_.shards()[s].metadata();
      metadata.emplace("format", "pt");  // transformers refuses files without it
      out.push_back(laid_out(name, metadata, std::move(groups_[s])));
    }
    close_up(out);
    return out;
  }

  /// Numbers the shards of each family of names anew where one has vanished.
  void close_up(std::vector<output_shard>& shards) const {
    std::map<std::string, std::size_t> before, after, next;
    for (auto const& shard : model_.shards()) {
      if (auto const n = shard_number::parse(shard.path().filename().string())) ++before[n->stem];
    }
    for (auto const& shard : shards) {
      if (auto const n = shard_number::parse(shard.name)) ++after[n->stem];
    }
    for (auto& shard : shards) {
      auto const n = shard_number::parse(shard.name);
      if (n && before[n->stem] != after[n->stem])
        shard.name = shard_number::name(n->stem, n->digits, ++next[n->stem], after[n->stem]);
    }
  }

  std::vector<output_shard> cut() {
    auto const metadata = common_metadata();
    auto const empty_header = metadata_text(metadata).size() + 32;
    std::vector<std::vector<member>> parts(1);
    std::uint64_t filled = 0, header = empty_header;
    for (auto& group : groups_) {
      std::sort(group.begin(), group.end(), before_in_source);
      for (auto& m : group) {
        auto const size = m.bytes(), entry = most_entry_bytes(m.tensor);
        bool const full = (filled > 0 && filled + size > shard_bytes_) || header + entry > max_shard_header_bytes;
        if (full && !parts.back().empty()) {
          parts.emplace_back();
          filled = 0;
          header = empty_header;
        }
        filled += size;
        header += entry;
        parts.back().push_back(std::move(m));
      }
    }
    std::vector<output_shard> out;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      auto const name = parts.size() == 1 ? std::string{single_file_name} : shard_number::name("model", 5, i + 1, parts.size());
      out.push_back(laid_out(name, metadata, std::move(parts[i])));
    }
    return out;
  }
  /// Of a tensor in a header, wherever it will lie: two offsets of 20 digits in the place of zeros, and a comma.
  static std::uint64_t most_entry_bytes(tensor_info const& t) {
    std::string text;
    append_entry(text, t);
    return text.size() + 2 * 19 + 1;
  }
  static bool before_in_source(member const& a, member const& b) {
    bool const known = a.origin.source != nullptr && b.origin.source != nullptr;
    if (known && a.origin.source->begin != b.origin.source->begin) return a.origin.source->begin < b.origin.source->begin;
    return a.tensor.name < b.tensor.name;
  }

  /// What all of the source's shards say.
  std::map<std::string, std::string> common_metadata() const {
    auto out = model_.shards().empty() ? std::map<std::string, std::string>{} : model_.shards().front().metadata();
    for (auto const& shard : model_.shards()) {
      std::erase_if(out, [&](auto const& entry) {
        auto const found = shard.metadata().find(entry.first);
        return found == shard.metadata().end() || found->second != entry.second;
      });
    }
    out.emplace("format", "pt");
    return out;
  }

  static output_shard laid_out(std::string name, std::map<std::string, std::string> const& metadata,
                               std::vector<member> members) {
    std::vector<tensor_info> tensors;
    for (std::size_t i = 0; i < members.size(); ++i) {
      members[i].tensor.shard = static_cast<int>(i);  // so that origins find the place their tensor is given
      tensors.push_back(std::move(members[i].tensor));
    }
    output_shard out{std::move(name), {}, {}};
    try {
      out.layout = cull::lay_out(metadata, std::move(tensors), max_shard_header_bytes);
    } catch (error const& problem) {
      if (problem.code() != errc::header_too_large) throw;
      throw error{problem.code(), problem.what(), {.file = out.name}};
    }
    for (auto const& t : out.layout.tensors) out.origins.push_back(std::move(members[static_cast<std::size_t>(t.shard)].origin));
    return out;
  }

  checkpoint const& model_;
  std::uint64_t shard_bytes_;
  std::vector<std::vector<member>> groups_;
};

}  // namespace detail
CULL_NAMESPACE_END
