// SPDX-License-Identifier: Apache-2.0
// What a call throws.
#pragma once

#include <string>
#include <utility>

#include <cull/error.hpp>

namespace test_support {

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

struct caught {
  bool thrown = false;
  cull::errc code = cull::errc::cancelled;
  std::string text;
};

template <class Call>
caught catch_error(Call&& call) {
  try {
    call();
  } catch (cull::error const& problem) {
    return {true, problem.code(), problem.what()};
  }
  return {};
}

}  // namespace test_support
