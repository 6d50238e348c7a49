// SPDX-License-Identifier: Apache-2.0
// What a call throws, and what its text says.
#pragma once

#include <string>

#include "support/failures.hpp"

namespace checkpoint_test {

using test_support::code_of;
using test_support::failure_of;

inline bool mentions(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace checkpoint_test
