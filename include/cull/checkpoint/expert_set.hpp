// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/names.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// What is wrong with the tensors of one expert.
struct expert_note {
  enum class kind {
    absent,      ///< config.json counts it, no tensor is its own
    beyond,      ///< config.json does not count it
    misspelled,  ///< its number is not written as numbers are ("experts.01")
    incomplete,  ///< it lacks a tensor of another one of its layer that has all of its own, names and types
  };
  kind what = kind::absent;
  int layer = 0;
  int expert = 0;
};

namespace detail {

/// Counts the tensors of each expert as they pass, in any order.
class expert_census {
 public:
  explicit expert_census(family const& of) : stem_(std::string_view{of.experts}.substr(0, of.experts.find("{}"))) {}

  void add(tensor_place const& place, dtype type) {
    if (place.expert >= 0) {
      layers_[place.layer][place.expert].push_back(number_of(place.rest, type));
    } else if (place.layer >= 0 && !stem_.empty() && place.rest.starts_with(stem_) && place.rest.size() > stem_.size() &&
               std::isdigit(static_cast<unsigned char>(place.rest[stem_.size()])) != 0) {
      misspelled_.insert({place.layer, std::atoi(std::string{place.rest.substr(stem_.size())}.c_str())});
    }
  }

  /// For layers that have experts with tensors of their own; `count(layer)`: how many config.json counts.
  template <class Count>
  std::vector<expert_note> notes(Count&& count) {
    using kind = expert_note::kind;
    std::vector<expert_note> out;
    for (auto& [layer, experts] : layers_) {
      auto const kinds = kinds_of(experts);
      int const counted = count(layer);
      for (int e = 0; e < counted; ++e) {
        auto const found = experts.find(e);
        if (found == experts.end())
          out.push_back({kind::absent, layer, e});
        else if (is_part_of_another(found->second, kinds))
          out.push_back({kind::incomplete, layer, e});
      }
      for (auto at = experts.lower_bound(counted); at != experts.end(); ++at) out.push_back({kind::beyond, layer, at->first});
    }
    for (auto const& [layer, expert] : misspelled_) out.push_back({kind::misspelled, layer, expert});
    return out;
  }

 private:
  using parts = std::vector<int>;

  /// Name and type: in a layer of several formats, an expert lacks nothing that only another format has.
  int number_of(std::string_view rest, dtype type) {
    auto& known = numbers_[type];
    auto const found = known.find(rest);
    return found != known.end() ? found->second : known.emplace(rest, count_++).first->second;
  }

  /// The few different sets of parts; sorts every expert's.
  static std::set<parts> kinds_of(std::map<int, parts>& experts) {
    std::set<parts> out;
    for (auto& [number, own] : experts) {
      std::sort(own.begin(), own.end());
      out.insert(own);
    }
    return out;
  }

  static bool is_part_of_another(parts const& own, std::set<parts> const& kinds) {
    return std::any_of(kinds.begin(), kinds.end(), [&](parts const& other) {
      return other.size() > own.size() && std::includes(other.begin(), other.end(), own.begin(), own.end());
    });
  }

  std::string stem_;
  std::map<dtype, std::map<std::string, int, std::less<>>> numbers_;
  int count_ = 0;
  std::map<int, std::map<int, parts>> layers_;
  std::set<std::pair<int, int>> misspelled_;
};

inline std::string_view text_of(expert_note::kind what) {
  switch (what) {
    case expert_note::kind::absent:
      return "no tensors of expert ";
    case expert_note::kind::beyond:
      return "tensors of an expert beyond the count: ";
    case expert_note::kind::misspelled:
      return "a number spelled otherwise: ";
    default:
      return "not all tensors of expert ";
  }
}

/// Throws `errc::expert_set`, with the first layer and all its ids, unless every expert of the kept layers is there once, under
/// its number, and every kept one complete. An incomplete expert may be dropped: that is one cure.
inline void check_expert_sets(std::vector<expert_note> const& notes, std::map<int, std::vector<int>> const& kept,
                              std::string const& dir) {
  auto const counts = [&](expert_note const& note) {
    auto const layer = kept.find(note.layer);
    if (layer == kept.end()) return false;
    return note.what != expert_note::kind::incomplete ||
           std::binary_search(layer->second.begin(), layer->second.end(), note.expert);
  };
  auto const first = std::find_if(notes.begin(), notes.end(), counts);
  if (first == notes.end()) return;
  std::string ids;
  for (auto const& note : notes) {
    if (counts(note) && note.what == first->what && note.layer == first->layer)
      ids += (ids.empty() ? "" : ", ") + std::to_string(note.expert);
  }
  throw error{
      errc::expert_set, "layer " + std::to_string(first->layer) + ": " + std::string{text_of(first->what)} + ids, {.file = dir}};
}

}  // namespace detail

CULL_NAMESPACE_END
