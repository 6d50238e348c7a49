// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// `bad`: an engine fails or computes something else than the weights say; `note`: one of them may, or loses speed.
enum class serving_verdict { good, note, bad };

/// One demand of the engines that serve such checkpoints, and what this
/// checkpoint has.
struct serving_check {
  std::string demand = {};
  serving_verdict verdict = serving_verdict::good;
  std::string found = {};
  std::string vllm = {}, sglang = {}, tensorrt_llm = {};  ///< what it means there, met or not
};

/// Block scales are most of what there is to read; where they are skipped their row is a note.
enum class block_scales { scan, skip };

namespace detail {

inline serving_verdict when(bool good, serving_verdict otherwise) { return good ? serving_verdict::good : otherwise; }

/// The first of several findings and how many there are more; `none` where there is none.
inline std::string first_of(std::vector<std::string> const& list, std::string const& none) {
  if (list.empty()) return none;
  return list[0] + (list.size() > 1 ? " and " + std::to_string(list.size() - 1) + " more" : "");
}

inline std::string short_number(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", static_cast<double>(value));
  return text;
}

inline std::string joined(std::vector<std::string> const& list) {
  std::string out;
  for (auto const& each : list) out += (out.empty() ? "" : ", ") + each;
  return out;
}

}  // namespace detail
CULL_NAMESPACE_END
