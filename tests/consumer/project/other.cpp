// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/checkpoint.hpp>
#include <cull/cpu.hpp>
#include <cull/router.hpp>

int chosen_elsewhere() {
  std::vector<float> const logits{0.5f, -1.0f, 2.0f};
  auto const router = cull::score<cull::sigmoid>() | cull::choose(1);
  cull::routing_buffer chosen;
  cull::route(cull::on_cpu{1}, router, cull::matrix_view<float const>{logits.data(), 1, 3}, chosen);
  return chosen.view().ids(0, 0);
}
