// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace kit {

/// A template with every {{key}} replaced. Throws std::logic_error for a key that has no value: a template and its values belong
/// together.
std::string filled(std::string_view text, std::map<std::string, std::string> const& values);

}  // namespace kit
