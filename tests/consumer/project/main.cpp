// SPDX-License-Identifier: Apache-2.0
#include <cull/checkpoint.hpp>
#include <cull/saliency.hpp>
#include <cull/selection.hpp>

int chosen_elsewhere();

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto const model = cull::checkpoint::open(argv[1]);
  return model.moe_layers().size() == 5 && chosen_elsewhere() == 2 ? 0 : 1;
}
