// SPDX-License-Identifier: Apache-2.0
#include <engine/sequences.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include <cull/error.hpp>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace engine {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(std::string const& why) { throw cull::error{cull::errc::bad_sequence, why}; }

std::vector<int> read_ids(json const& line, char const* key, std::int64_t vocabulary) {
  if (!line.contains(key)) refuse(std::string{"key '"} + key + "' is missing");
  auto const& values = line.at(key);
  if (!values.is_array()) refuse(std::string{"'"} + key + "' must be an array of token ids");
  std::vector<int> out;
  for (auto const& value : values) {
    auto const at = std::string{"'"} + key + "'[" + std::to_string(out.size()) + "]";
    if (!value.is_number_integer()) refuse(at + " is not an integer");
    bool const fits = value.is_number_unsigned() ? value.get<std::uint64_t>() < static_cast<std::uint64_t>(vocabulary)
                                                 : value.get<std::int64_t>() >= 0 && value.get<std::int64_t>() < vocabulary;
    if (!fits) refuse(at + " = " + value.dump() + " is not a token id of a vocabulary of " + std::to_string(vocabulary));
    out.push_back(value.get<int>());
  }
  return out;
}

std::string read_text(json const& line, char const* key, std::string const& otherwise) {
  if (!line.contains(key)) return otherwise;
  if (!line.at(key).is_string()) refuse(std::string{"'"} + key + "' must be a string");
  return line.at(key).get<std::string>();
}

std::vector<double> read_weights(json const& line) {
  std::vector<double> out;
  if (!line.contains("weights")) return out;
  if (!line.at("weights").is_array()) refuse("'weights' must be an array of numbers");
  for (auto const& value : line.at("weights")) {
    if (!value.is_number()) refuse("'weights'[" + std::to_string(out.size()) + "] is not a number");
    out.push_back(value.get<double>());
  }
  // An empty list would otherwise mean "all ones".
  if (out.empty()) refuse("'weights' is empty; leave it out where every token counts once");
  return out;
}

/// Calls `take(object, line number)` per line; adds file and line to what it throws.
template <class Take>
void for_each_line(std::filesystem::path const& path, Take&& take) {
  std::ifstream in{path};
  if (!in) throw cull::error{cull::errc::not_found, "cannot be opened for reading", {.file = path.string()}};
  std::string text;
  for (std::int64_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    cull::error_location const where{.file = path.string() + " line " + std::to_string(number)};
    try {
      auto const line = json::parse(text);
      if (!line.is_object()) refuse("a line must be a JSON object");
      take(line, number);
    } catch (json::parse_error const& problem) {
      throw cull::error{cull::errc::bad_sequence,
                        "is no JSON at column " + std::to_string(problem.byte) +
                            "; every line of such a file is one object, such as {\"ids\": [1, 2, 3]}",
                        where};
    } catch (json::exception const& problem) {
      throw cull::error{cull::errc::bad_sequence, problem.what(), where};
    } catch (cull::error const& problem) {
      throw cull::error{problem.code(), problem.what(), where};
    }
  }
  if (in.bad()) throw cull::error{cull::errc::io, "reading failed", {.file = path.string()}};
}

void check_weights(sequence const& of) {
  if (of.weights.empty()) return;
  if (of.weights.size() != of.ids.size()) {
    refuse(of.id + ": " + std::to_string(of.weights.size()) + " weights for " + std::to_string(of.ids.size()) + " tokens");
  }
  for (std::size_t i = 0; i < of.weights.size(); ++i) {
    if (std::isfinite(of.weights[i]) && of.weights[i] >= 0) continue;
    refuse(of.id + ": 'weights'[" + std::to_string(i) + "] must be finite and not negative");
  }
}

}  // namespace

std::vector<sequence> read_sequences(std::filesystem::path const& path, std::int64_t vocabulary) {
  std::vector<sequence> out;
  for_each_line(path, [&](json const& line, std::int64_t number) {
    sequence next{.id = read_text(line, "id", "line " + std::to_string(number)),
                  .domain = read_text(line, "domain", "all"),
                  .ids = read_ids(line, "ids", vocabulary),
                  .weights = read_weights(line)};
    check_ids(next.id, next.ids, vocabulary);
    check_weights(next);
    out.push_back(std::move(next));
  });
  return out;
}

std::vector<prompt> read_prompts(std::filesystem::path const& path, std::int64_t vocabulary) {
  std::vector<prompt> out;
  for_each_line(path, [&](json const& line, std::int64_t number) {
    prompt next{
        .id = read_text(line, "id", "line " + std::to_string(number)), .ids = read_ids(line, "ids", vocabulary), .answer = {}};
    if (line.contains("answer")) next.answer = read_ids(line, "answer", vocabulary);
    check_ids(next.id, next.ids, vocabulary);
    out.push_back(std::move(next));
  });
  return out;
}

void emphasize(sequence& target, emphasis const& mark) {
  auto const size = static_cast<std::int64_t>(target.ids.size());
  target.weights = effective_weights(target);
  std::int64_t done = 0;  // tokens before this one have had their turn
  for (std::int64_t at = 0; at < size; ++at) {
    if (target.ids[static_cast<std::size_t>(at)] != mark.token) continue;
    auto const end = mark.radius < size - at ? at + mark.radius + 1 : size;
    for (auto i = std::max({done, at - std::min(at, mark.radius)}); i < end; ++i)
      target.weights[static_cast<std::size_t>(i)] *= mark.weight;
    done = std::max(done, end);
  }
}

std::vector<double> effective_weights(sequence const& from) {
  check_weights(from);
  return from.weights.empty() ? std::vector<double>(from.ids.size(), 1.0) : from.weights;
}

void check_ids(std::string const& id, std::span<int const> ids, std::int64_t vocabulary) {
  if (ids.empty()) refuse(id + ": 'ids' is empty");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocabulary) continue;
    refuse(id + ": token " + std::to_string(i) + " is " + std::to_string(ids[i]) + ", the vocabulary has " +
           std::to_string(vocabulary));
  }
}

std::vector<std::array<std::uint64_t, 2>> digest(std::span<sequence const> sequences) {
  static_assert(sizeof(int) == 4 && sizeof(double) == 8);
  std::map<std::array<std::uint64_t, 2>, std::uint64_t> seen;
  std::vector<std::array<std::uint64_t, 2>> out;
  for (auto const& each : sequences) {
    auto const weights = effective_weights(each);
    XXH3_state_t state;
    auto const hash = [&](std::uint64_t occurrence) {
      std::uint64_t const count = each.ids.size();
      XXH3_128bits_reset(&state);
      XXH3_128bits_update(&state, &count, sizeof count);
      XXH3_128bits_update(&state, each.ids.data(), each.ids.size() * sizeof(int));
      XXH3_128bits_update(&state, weights.data(), weights.size() * sizeof(double));
      XXH3_128bits_update(&state, &occurrence, sizeof occurrence);
      auto const value = XXH3_128bits_digest(&state);
      return std::array<std::uint64_t, 2>{value.high64, value.low64};
    };
    auto const first = hash(0);
    auto const occurrence = seen[first]++;
    out.push_back(occurrence == 0 ? first : hash(occurrence));
  }
  return out;
}

}  // namespace engine
