// SPDX-License-Identifier: Apache-2.0
#include "evaluations.hpp"

#include <algorithm>
#include <optional>
#include <string_view>

namespace report {
namespace {

/// A number, with its interval where there is a list of two beside it.
std::optional<rate> rate_of(json const& value, json const* interval) {
  if (!value.is_number()) return {};
  rate out{value.get<double>(), {}, {}};
  if (interval != nullptr && interval->is_array() && interval->size() == 2 && interval->at(0).is_number() &&
      interval->at(1).is_number()) {
    out.low = interval->at(0).get<double>();
    out.high = interval->at(1).get<double>();
  }
  return out;
}

json const* member(json const* of, std::string const& key) {
  return of != nullptr && of->is_object() && of->contains(key) ? &of->at(key) : nullptr;
}

using rates = std::vector<std::pair<std::string, rate>>;

/// Numbers by value, words as they come.
void sort_numbers(rates& of) {
  auto const is_number = [](auto const& r) { return r.first.find_first_not_of("0123456789") == std::string::npos; };
  if (!std::all_of(of.begin(), of.end(), is_number)) return;
  std::stable_sort(of.begin(), of.end(), [](auto const& a, auto const& b) {
    return a.first.size() != b.first.size() ? a.first.size() < b.first.size() : a.first < b.first;
  });
}

/// An object whose every member is a figure: one measure, by domain or by number of drafts.
rates group_of(json const& value, json const* intervals) {
  rates out;
  if (!value.is_object()) return out;
  for (auto const& [name, each] : value.items()) {
    auto const found = rate_of(each, member(intervals, name));
    if (!found) return {};
    out.emplace_back(name, *found);
  }
  sort_numbers(out);
  return out;
}

/// "64" as "64 to 127", the range of positions that begins there.
std::string position_name(std::string const& first) {
  auto const from = std::stoll(first);
  return first + " to " + std::to_string(from == 0 ? 15 : 2 * from - 1);
}

/// One figure of the distance from another model, by domain, position or part of the text.
void add_distances(json const& versus, std::string const& key, evaluated_model& to) {
  for (auto const* by : {"by_domain", "by_position", "by_part"}) {
    auto const* const parts = member(&versus, by);
    rates out;
    if (parts == nullptr || !parts->is_object()) continue;
    for (auto const& [name, each] : parts->items()) {
      if (!each.is_object()) continue;
      if (auto const found = rate_of(each.value(key, json{}), member(member(&each, "intervals"), key)))
        out.emplace_back(name, *found);
    }
    sort_numbers(out);
    for (auto& [name, value] : out) {
      if (std::string_view{by} == "by_position") name = position_name(name);
      if (std::string_view{by} == "by_part") name += " </think>";
    }
    auto const suffix = std::string_view{by} == "by_domain" ? std::string{} : "_" + std::string{by};
    if (!out.empty()) to.groups.emplace_back(key + suffix, std::move(out));
  }
}

/// The distance from another model, token by token.
void add_distance(json const& versus, evaluated_model& to) {
  for (std::string const key : {"kl", "top1"}) {
    if (!versus.contains(key)) continue;
    if (auto const all = rate_of(versus.at(key), member(member(&versus, "intervals"), key))) to.rates.emplace_back(key, *all);
    add_distances(versus, key, to);
  }
}

evaluated_model model_of(json const& root, std::string name) {
  evaluated_model out{std::move(name)};
  auto const* const intervals = member(&root, "intervals");
  for (auto const& [key, value] : root.items()) {
    if (key == "intervals") continue;
    if (key == "versus") {
      if (value.is_object()) add_distance(value, out);
    } else if (auto const one = rate_of(value, member(intervals, key))) {
      out.rates.emplace_back(key, *one);
    } else if (auto group = group_of(value, member(intervals, key)); !group.empty()) {
      out.groups.emplace_back(key, std::move(group));
    }
  }
  return out;
}

}  // namespace

std::vector<evaluated_model> evaluations_of(json const& root, std::string const& name) {
  std::vector<evaluated_model> out;
  if (!root.is_object()) return out;
  if (root.contains("nats")) return {model_of(root, name)};
  for (auto const& [key, value] : root.items()) {
    if (value.is_object() && value.contains("nats")) out.push_back(model_of(value, key));
  }
  return out;
}

serving_check verification_of(json const& root) {
  bool const good = root.at("verified").is_boolean() && root.at("verified").get<bool>();
  auto const number = [&](char const* key) { return root.contains(key) && root.at(key).is_number() ? root.at(key).dump() : "?"; };
  return {good ? verdict::good : verdict::bad, "bytes",
          good ? number("tensors") + " tensors, " + number("bytes") + " bytes" : "differences were found",
          good ? "every tensor is the source's, byte for byte, under the plan's numbers"
               : "do not serve this directory; verify names the differences"};
}

}  // namespace report
