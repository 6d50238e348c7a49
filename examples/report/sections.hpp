// SPDX-License-Identifier: Apache-2.0
// The parts of the page, each a pure function of the figures; empty where there is nothing to show.
#pragma once

#include <string>

#include "figures.hpp"
#include "html.hpp"

namespace report {

std::string summary_section(figures const& of);     ///< the numbers one looks for first
std::string cut_section(figures const& of);         ///< mass dropped against traffic dropped, and a row per layer
std::string curves_section(figures const& of);      ///< sorted scores of every layer
std::string heat_section(figures const& of);        ///< layers x experts
std::string doubt_section(figures const& of);       ///< experts not told from the cut, and starving ones
std::string overlap_section(figures const& of);     ///< keep-sets against each other
std::string quality_section(figures const& of);     ///< models side by side
std::string ledger_section(figures const& of);      ///< bytes by role
std::string serving_section(figures const& of);     ///< what engines will say
std::string provenance_section(figures const& of);  ///< files, digests, the command

/// The layers' numbers as JSON, for what shows on hovering (and for whoever wants them).
std::string data_json(figures const& of);

/// "layer 7", or "layer 78 (MTP)".
std::string name_of(layer_figures const& layer);
/// How many sequences more would settle a layer's cut: a number, "equal scores", or a dash where it is not known.
cell settle_cell(figures const& of, layer_figures const& layer);

}  // namespace report
