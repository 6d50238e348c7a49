// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <cull/checkpoint/header_parser.hpp>
#include <cull/checkpoint/json_events.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/shard_index.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// A shard is a plain name in the directory, whatever system wrote the index and whatever system reads it.
inline bool is_shard_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.find_first_of("/\\:") == std::string_view::npos && !name.starts_with('.') &&
         name.find('\0') == std::string_view::npos;
}

inline void check_shard_name(std::string const& shard, std::string const& file) {
  if (!is_shard_name(shard))
    throw error{errc::bad_shard_name,
                "'" + printable(shard) + "' is not the name of a .safetensors file in this directory",
                {.file = file}};
}

/// Handler for an index: "weight_map" and "metadata"."total_size" count, all else is only checked for keys given twice.
class index_parser final : public json_events {
 public:
  index_parser(std::string_view text, std::string const& file, std::uint64_t base, leniency const& allowed)
      : json_events(text, file, base), allowed_(allowed) {}

  /// `places`: where in the text the key of each tensor begins.
  void parse(shard_index& out, std::vector<std::uint32_t>& places) {
    out_ = &out;
    places_ = &places;
    run();
    if (!has_map_) fail(errc::index_schema, "has no object 'weight_map'");
    if (!out.total_size && out.warnings.empty()) out.warnings.push_back("the index does not say its total_size");
  }

  bool start_object(std::size_t) override {
    if (steps_.size() == 1 && steps_[0].key == "weight_map")
      has_map_ = true;
    else if (in_map())
      refuse_shard("an object");
    steps_.push_back({});
    return true;
  }
  bool key(std::string& text) override {
    auto& last = steps_.back();
    last.key.swap(text);
    if (in_map()) {
      if (last.key.size() > max_name_bytes) fail(errc::bad_name, "a name of more than 4096 bytes");
      if (!allowed_.nul_in_names && last.key.find('\0') != std::string::npos) fail(errc::bad_name, "a name with NUL");
      places_->push_back(static_cast<std::uint32_t>(token_begin()));
    } else if (!last.seen.insert(last.key).second) {
      fail(errc::duplicate_key, "key '" + printable(last.key) + "' appears twice");
    }
    return true;
  }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override {
    if (steps_.empty()) fail(errc::index_schema, "must be an object with 'weight_map'");
    check_value("a list");
    steps_.push_back({});
    return true;
  }
  bool end_array() override { return leave(); }
  bool string(std::string& text) override {
    if (in_map()) {
      add(text);
    } else {
      check_value("a string");
      if (is_total()) out_->warnings.push_back("the index's total_size is a string");
    }
    return true;
  }
  bool number_unsigned(std::uint64_t value) override {
    check_value("a number", token::number);
    if (is_total()) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) refuse_number(std::to_string(value));
      out_->total_size = value;
    }
    return true;
  }
  bool number_integer(std::int64_t value) override {
    check_value("a number", token::number);
    if (is_total()) refuse_number(value == 0 ? "-0" : std::to_string(value));
    return true;
  }
  bool number_float(double, std::string const& text) override {
    check_value("a number", token::number);
    if (is_total()) refuse_number(text);
    return true;
  }
  bool null() override { return check_value("null"); }
  bool boolean(bool) override { return check_value("true or false"); }

 protected:
  std::string tensor() const override { return in_map() ? steps_.back().key : std::string{}; }
  std::string pointer() const override {
    std::string out;
    for (auto const& each : steps_) out += pointer_step(each.key);
    return out;
  }

 private:
  struct step {
    std::string key;
    std::unordered_set<std::string> seen;
  };

  bool leave() {
    steps_.pop_back();
    return true;
  }
  bool in_map() const { return steps_.size() == 2 && steps_[0].key == "weight_map"; }
  bool is_total() const { return steps_.size() == 2 && steps_[0].key == "metadata" && steps_[1].key == "total_size"; }
  bool check_value(char const* found, token kind = token::other) const {
    if (in_map()) refuse_shard(found, kind);
    if (steps_.size() != 1) return true;
    auto const& key = steps_[0].key;
    bool const nothing = key == "metadata" && std::string_view{found} == "null";
    if ((key == "weight_map" || key == "metadata") && !nothing) fail(errc::index_schema, "'" + key + "' must be an object", kind);
    return true;
  }
  [[noreturn]] void refuse_shard(std::string const& found, token kind = token::other) const {
    fail(errc::index_schema, found + " in the place of a file's name", kind);
  }
  void add(std::string const& shard) {
    auto const [at, fresh] = numbers_.try_emplace(shard, static_cast<std::uint32_t>(out_->shards.size()));
    if (fresh) {
      if (!is_shard_name(shard)) {
        fail(errc::bad_shard_name, "'" + printable(shard) + "' is not the name of a .safetensors file in this directory");
      }
      out_->shards.push_back(shard);
    }
    out_->tensors.push_back({steps_.back().key, at->second});
  }

  leniency const& allowed_;
  shard_index* out_ = nullptr;
  std::vector<std::uint32_t>* places_ = nullptr;
  bool has_map_ = false;
  std::vector<step> steps_;
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

/// Brings an index into the order of names. Throws `errc::duplicate_key` where one is given twice.
inline void sort_index(shard_index& index, std::vector<std::uint32_t> const& places, std::uint64_t base,
                       std::string const& file) {
  std::vector<std::uint32_t> order(index.tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  auto const name = [&](std::uint32_t i) -> std::string const& { return index.tensors[i].tensor; };
  auto const before = [&](std::uint32_t a, std::uint32_t b) {
    auto const by_name = name(a).compare(name(b));
    return by_name != 0 ? by_name < 0 : a < b;
  };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
  auto const twice =
      std::adjacent_find(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return name(a) == name(b); });
  if (twice != order.end()) {
    throw error{errc::duplicate_key,
                "the name appears twice",
                {.file = file,
                 .tensor = name(*twice),
                 .byte = base + places[*(twice + 1)],
                 .json_pointer = "/weight_map" + pointer_step(name(*twice))}};
  }
  std::vector<shard_index::entry> sorted;
  sorted.reserve(order.size());
  for (auto const i : order) sorted.push_back(std::move(index.tensors[i]));
  index.tensors = std::move(sorted);
}

}  // namespace detail
CULL_NAMESPACE_END
