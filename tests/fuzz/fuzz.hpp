// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share: a mutator that knows JSON tokens, and an end that the fuzzer sees.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <cull/error.hpp>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace fuzz {

inline std::string_view text_of(std::uint8_t const* data, std::size_t size) {
  return {reinterpret_cast<char const*>(data), size};
}

/// Ends the run as a crash where something that must hold does not.
inline void require(bool holds, char const* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

/// Runs `call`; errors of cull are answers, anything else ends the run. Gives whether it went through.
template <class Call>
bool answers(Call&& call) {
  try {
    call();
    return true;
  } catch (cull::error const& problem) {
    std::string const what = problem.what();
    require(!what.empty() && std::none_of(what.begin(), what.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }),
            "a message is printable");
    return false;
  }
}

/// Numbers at which sizes and offsets break.
inline constexpr std::array interesting_numbers{"0",
                                                "1",
                                                "2",
                                                "3",
                                                "4",
                                                "7",
                                                "8",
                                                "15",
                                                "16",
                                                "63",
                                                "64",
                                                "65",
                                                "255",
                                                "4096",
                                                "4294967295",
                                                "4294967296",
                                                "2305843009213693952",
                                                "4611686018427387905",
                                                "9223372036854775807",
                                                "9223372036854775808",
                                                "18446744073709551615",
                                                "18446744073709551616",
                                                "18446744073709551617",
                                                "-1",
                                                "-0",
                                                "1.0",
                                                "1e0",
                                                "1e999",
                                                "02",
                                                "null",
                                                "true",
                                                "\"4\"",
                                                "[]",
                                                "{}"};

/// One change to a JSON text that keeps most of its structure: tokens are replaced, copied, swapped and dropped. `words`: of the
/// format, beside JSON's punctuation.
class token_mutator {
 public:
  token_mutator(std::string text, unsigned seed, std::vector<std::string_view> words)
      : text_(std::move(text)), random_(seed), words_(std::move(words)) {
    words_.insert(words_.end(), {"{", "}", "[", "]", ",", ":"});
  }

  std::string mutated() {
    split();
    auto const changes = 1 + random_() % 3;
    for (unsigned i = 0; i < changes; ++i) change();
    std::string out;
    for (auto const& t : tokens_) out += t;
    return out;
  }

 private:
  static bool is_literal(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' || c == '.';
  }
  void split() {
    for (std::size_t at = 0; at < text_.size();) {
      auto end = at + 1;
      if (text_[at] == '"') {
        while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2u : 1u;
        ++end;
      } else if (is_literal(text_[at])) {
        while (end < text_.size() && is_literal(text_[end])) ++end;
      }
      end = std::min(end, text_.size());
      tokens_.push_back(text_.substr(at, end - at));
      at = end;
    }
  }
  std::size_t any() { return random_() % tokens_.size(); }
  /// One past the value or member that begins at a token.
  std::size_t end_of(std::size_t at) const {
    int depth = 0;
    for (; at < tokens_.size(); ++at) {
      char const c = tokens_[at][0];
      depth += (c == '{' || c == '[') - (c == '}' || c == ']');
      if (depth < 0 || (depth == 0 && c == ',')) return at;
    }
    return at;
  }
  void change() {
    if (tokens_.empty()) tokens_.emplace_back("{");
    auto const at = any();
    auto const here = tokens_.begin() + static_cast<std::ptrdiff_t>(at);
    switch (random_() % 8) {
      case 0:
        tokens_[at] = interesting_numbers[random_() % interesting_numbers.size()];
        break;
      case 1:
        tokens_[at] = words_[random_() % words_.size()];
        break;
      case 2:
        tokens_.insert(here, std::string{words_[random_() % words_.size()]});
        break;
      case 3:
        std::swap(tokens_[at], tokens_[any()]);
        break;
      case 4:
        tokens_.erase(here);
        break;
      case 5:
        copy_member(at);
        break;
      case 6:
        nudge(tokens_[at]);
        break;
      default:
        tokens_.erase(here, tokens_.begin() + static_cast<std::ptrdiff_t>(end_of(at)));
        break;
    }
  }
  /// A member once more, behind a comma: names given twice, ranges that overlap.
  void copy_member(std::size_t at) {
    std::vector<std::string> copy(tokens_.begin() + static_cast<std::ptrdiff_t>(at),
                                  tokens_.begin() + static_cast<std::ptrdiff_t>(end_of(at)));
    copy.emplace_back(",");
    if (tokens_.size() < 5000) tokens_.insert(tokens_.begin() + static_cast<std::ptrdiff_t>(at), copy.begin(), copy.end());
  }
  /// A number by a little more or less, a string by a character.
  void nudge(std::string& token) {
    if (token[0] >= '0' && token[0] <= '9' && token.size() < 19) {
      token = std::to_string(std::strtoull(token.c_str(), nullptr, 10) + random_() % 9 - 4);
    } else if (token.size() > 2) {
      token[1 + random_() % (token.size() - 2)] = static_cast<char>(random_());
    }
  }

  std::string text_;
  std::minstd_rand random_;
  std::vector<std::string_view> words_;
  std::vector<std::string> tokens_;
};

/// Writes `text` over the input, cut at the most that it may have.
inline std::size_t put(std::string const& text, std::uint8_t* data, std::size_t most) {
  auto const size = std::min(text.size(), most);
  std::memcpy(data, text.data(), size);
  return size;
}

}  // namespace fuzz
