// SPDX-License-Identifier: Apache-2.0
// An inference engine that already routes and runs its experts adds saliency in a few lines.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <cull/checkpoint.hpp>
#include <cull/saliency.hpp>

namespace {

/// What the engine's own MoE layer leaves behind for a batch: ids and gates `[tokens, k]`, and norms of the raw expert outputs.
struct engine_batch {
  static constexpr int tokens = 6, k = 2;
  std::vector<std::int32_t> ids{0, 3, 1, 3, 0, 2, 2, 3, 0, 1, 1, 2};
  std::vector<float> gates{.7f, .3f, .6f, .4f, .5f, .5f, .8f, .2f, .9f, .1f, .4f, .6f};
  std::vector<float> norms{1.f, 4.f, 2.f, 5.f, 1.f, 3.f, 3.f, 4.f, 1.f, 2.f, 2.f, 3.f};
  std::vector<double> weights{1, 1, 1, 6, 6, 1};
  std::vector<int> sequence{0, 0, 0, 1, 1, 1};
};

}  // namespace

int main() {
  cull::on_cpu const exec{};
  cull::observation seen{exec, {.layers = {7}, .experts = 4}};

  engine_batch const batch;  // inside the engine's loop over layers and batches
  cull::matrix_view<std::int32_t const> const ids{batch.ids.data(), engine_batch::tokens, engine_batch::k};
  cull::matrix_view<float const> const gates{batch.gates.data(), engine_batch::tokens, engine_batch::k};
  cull::matrix_view<float const> const norms{batch.norms.data(), engine_batch::tokens, engine_batch::k};
  cull::add(exec, seen.at(7), cull::routing{ids, gates}, {.norms = norms, .weights = batch.weights, .sequence = batch.sequence});

  seen.finish();
  for (int expert = 0; expert < 4; ++expert) {
    auto const sums = seen.sums(7, expert);
    std::printf("expert %d: %lld tokens, REAP %.4f +- %.4f\n", expert, static_cast<long long>(sums.count()), cull::reap(sums),
                sums.standard_error(cull::gate_norm));
  }
  cull::save(seen, "host-07.safetensors", cull::overwrite::yes);
  // REAP of expert 0: (0.7 * 1 + 0.5 * 1 + 6 * 0.9 * 1) / 8
  return std::fabs(cull::reap(seen.sums(7, 0)) - 6.6 / 8) < 1e-6 ? 0 : 1;
}
