// SPDX-License-Identifier: Apache-2.0
#include "measure_names.hpp"

#include <algorithm>
#include <map>

namespace report {

std::string measure_name(std::string key) {
  static std::map<std::string, char const*> const names{
      {"nats", "nats per token"},
      {"kl", "KL divergence from the first model, nats"},
      {"kl_by_position", "KL divergence by position"},
      {"kl_by_part", "KL divergence before and after </think>"},
      {"top1", "same likeliest token as the first"},
      {"top1_by_position", "same likeliest token by position"},
      {"top1_by_part", "same likeliest token before and after </think>"},
      {"acceptance_length", "tokens per run by number of drafts"},
      {"looped", "prompts that loop"},
      {"mtp_agreement", "MTP agreement"},
      {"terminated", "prompts terminated"},
      {"answer_correct", "answers correct"},
  };
  if (auto const found = names.find(key); found != names.end()) return found->second;
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

bool is_share(std::string const& key) {
  return key.starts_with("top1") || key == "mtp_agreement" || key == "terminated" || key == "answer_correct" || key == "looped";
}

}  // namespace report
