// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace engine {

/// One calibration or evaluation sequence. `weights`: share of each token in every sum; empty means 1 everywhere.
struct sequence {
  std::string id;
  std::string domain;
  std::vector<int> ids;
  std::vector<double> weights;
};

/// A prompt with, where it is known, the right answer.
struct prompt {
  std::string id;
  std::vector<int> ids;
  std::vector<int> answer;
};

/// Reads JSON lines `{"id": str, "domain": str, "ids": [int...], "weights": [number...]?}`; empty lines are skipped, unknown keys
/// ignored, a missing id becomes the line number. With `vocabulary`, ids must be below it.
/// Throws errc::bad_sequence with file and line for anything else, errc::not_found for a file that cannot be opened.
std::vector<sequence> read_sequences(std::filesystem::path const& path, std::int64_t vocabulary = 0x7fffffff);

/// Reads JSON lines `{"id": str, "ids": [int...], "answer": [int...]?}`, likewise.
std::vector<prompt> read_prompts(std::filesystem::path const& path, std::int64_t vocabulary = 0x7fffffff);

/// Tokens within `radius` positions of a token `token` count `weight` times as much.
struct emphasis {
  int token = 0;
  std::int64_t radius = 0;
  double weight = 1;
};

/// Multiplies the weight of every token near a mark, once however many marks are near.
void emphasize(sequence& target, emphasis const& mark);

/// Weights as they count: the sequence's own, or ones. Throws errc::bad_sequence where their number is not that of the ids, or
/// one is negative or not finite.
std::vector<double> effective_weights(sequence const& from);

/// Throws errc::bad_sequence unless there is a token and every id is in [0, vocabulary).
void check_ids(std::string const& id, std::span<int const> ids, std::int64_t vocabulary);

/// XXH128 (high, low) of each sequence's ids, effective weights and number among the equal ones before it, so that the set of
/// digests depends neither on names nor on order.
std::vector<std::array<std::uint64_t, 2>> digest(std::span<sequence const> sequences);

}  // namespace engine
