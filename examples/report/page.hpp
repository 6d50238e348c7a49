// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "figures.hpp"

namespace report {

/// One self-contained HTML file: no network, no framework, drawings inline; also well-formed XML. The same figures give the same
/// bytes.
std::string to_html(figures const& of);

}  // namespace report
