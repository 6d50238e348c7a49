// SPDX-License-Identifier: Apache-2.0
// A keep-set from anywhere (a paper, a script, a solver): only checkpoint surgery is cull's.
// usage: plan_from_elsewhere MODEL OUT
#include <cstdio>
#include <exception>
#include <numeric>

#include <cull/checkpoint.hpp>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: plan_from_elsewhere MODEL OUT\n");
    return 2;
  }
  auto const model = cull::checkpoint::open(argv[1]);
  cull::pruning_plan plan;
  plan.mtp = cull::mtp_policy::copy(model.moe_layers().front());
  for (int const layer : model.moe_layers()) {
    std::vector<int> first_half(static_cast<std::size_t>(model.experts() / 2));
    std::iota(first_half.begin(), first_half.end(), 0);
    plan.layers[layer] = first_half;
  }
  auto const ledger = cull::predict(model, plan);  // exact, before a byte is written
  std::printf("%llu bytes of tensors, %llu before\n", static_cast<unsigned long long>(ledger.bytes),
              static_cast<unsigned long long>(model.ledger().bytes));
  cull::apply(model, plan, argv[2]);
  cull::verify(model, plan, argv[2]);
  return 0;
} catch (std::exception const& problem) {
  std::fprintf(stderr, "%s\n", problem.what());
  return 1;
}
