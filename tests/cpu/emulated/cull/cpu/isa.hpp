// SPDX-License-Identifier: Apache-2.0
// In front of the library's header: a machine that has every instruction.
#pragma once

#define best_isa best_isa_of_this_machine
#include_next <cull/cpu/isa.hpp>
#undef best_isa

CULL_NAMESPACE_BEGIN

inline isa best_isa() noexcept { return isa::amx_bf16; }

CULL_NAMESPACE_END
