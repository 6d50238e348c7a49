// SPDX-License-Identifier: Apache-2.0
#include "template.hpp"

#include <stdexcept>

namespace kit {

std::string filled(std::string_view text, std::map<std::string, std::string> const& values) {
  std::string out;
  for (std::size_t at = 0;;) {
    auto const open = text.find("{{", at);
    out += text.substr(at, open - at);
    if (open == text.npos) return out;
    auto const close = text.find("}}", open);
    if (close == text.npos) throw std::logic_error{"template: {{ without }}"};
    auto const found = values.find(std::string{text.substr(open + 2, close - open - 2)});
    if (found == values.end())
      throw std::logic_error{"template: no value for " + std::string{text.substr(open, close + 2 - open)}};
    out += found->second;
    at = close + 2;
  }
}

}  // namespace kit
