// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fuzz.hpp"

namespace fuzz {

inline std::vector<std::string_view> const& header_words() {
  static std::vector<std::string_view> const words{" ",
                                                   "\"dtype\"",
                                                   "\"shape\"",
                                                   "\"data_offsets\"",
                                                   "\"__metadata__\"",
                                                   "\"F32\"",
                                                   "\"U8\"",
                                                   "\"F4\"",
                                                   "\"F6_E2M3\"",
                                                   "\"BF16\"",
                                                   "\"I64\"",
                                                   "\"a\"",
                                                   "\"\\u0061\"",
                                                   "\"\\u0000\"",
                                                   "\"\\ud800\"",
                                                   "\"strides\"",
                                                   "\"\"",
                                                   "NaN",
                                                   "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}",
                                                   ",\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}"};
  return words;
}

/// Mutates a safetensors file: its JSON text by tokens, with the length (mostly) and the amount of data (mostly) made right
/// again, so that changes reach the checks behind them.
inline std::size_t mutate_safetensors(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  std::minstd_rand random{seed};
  if (size < 10 || random() % 5 == 0) return LLVMFuzzerMutate(data, size, most);
  std::uint64_t length = 0;
  std::memcpy(&length, data, 8);
  auto const whole = text_of(data + 8, size - 8);
  auto const text = whole.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(length, whole.size())));
  auto body = std::string{whole.substr(text.size())};
  auto const changed = token_mutator{std::string{text}, seed, header_words()}.mutated();
  length = random() % 16 == 0 ? length : changed.size();
  if (random() % 8 != 0) {
    // As much data as the largest small number in the text asks for.
    std::size_t wanted = 0;
    for (std::size_t at = 0; at < changed.size(); ++at) {
      if (changed[at] < '0' || changed[at] > '9') continue;
      char* end = nullptr;
      auto const number = std::strtoull(changed.c_str() + at, &end, 10);
      at = static_cast<std::size_t>(end - changed.c_str());
      if (number < 2048) wanted = std::max(wanted, static_cast<std::size_t>(number));
    }
    body.resize(random() % 4 == 0 ? body.size() + random() % 3 : wanted, 'x');
  }
  std::string out(reinterpret_cast<char const*>(&length), 8);
  return put(out + changed + body, data, most);
}

}  // namespace fuzz
