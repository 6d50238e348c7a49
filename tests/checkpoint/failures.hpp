// SPDX-License-Identifier: Apache-2.0
// What a call throws.
#pragma once

#include <string>
#include <utility>

#include <cull/error.hpp>

namespace checkpoint_test {

template <class Call>
cull::error failure_of(Call&& call) {
  try {
    call();
  } catch (cull::error const& problem) {
    return problem;
  }
  return cull::error{cull::errc::cancelled, "nothing was thrown"};
}
template <class Call>
cull::errc code_of(Call&& call) {
  return failure_of(std::forward<Call>(call)).code();
}

inline bool mentions(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace checkpoint_test
