// SPDX-License-Identifier: Apache-2.0
#include "evaluations.hpp"

#include <optional>

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

/// An object whose every member is a figure: one measure, by domain.
std::map<std::string, rate> domains_of(json const& value, json const* intervals) {
  std::map<std::string, rate> out;
  if (!value.is_object()) return out;
  for (auto const& [domain, each] : value.items()) {
    auto const found = rate_of(each, member(intervals, domain));
    if (!found) return {};
    out.emplace(domain, *found);
  }
  return out;
}

/// The distance from another model, token by token: of all, and by domain.
void add_distance(json const& versus, evaluated_model& to) {
  for (auto const* key : {"kl", "top1"}) {
    if (!versus.contains(key)) continue;
    if (auto const all = rate_of(versus.at(key), member(member(&versus, "intervals"), key))) to.rates.emplace_back(key, *all);
    auto const* const domains = member(&versus, "by_domain");
    std::map<std::string, rate> by_domain;
    if (domains == nullptr) continue;
    for (auto const& [domain, each] : domains->items()) {
      if (auto const found = rate_of(each.value(key, json{}), member(member(&each, "intervals"), key)))
        by_domain.emplace(domain, *found);
    }
    to.by_domain.emplace_back(key, std::move(by_domain));
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
    } else if (auto by_domain = domains_of(value, member(intervals, key)); !by_domain.empty()) {
      out.by_domain.emplace_back(key, std::move(by_domain));
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
