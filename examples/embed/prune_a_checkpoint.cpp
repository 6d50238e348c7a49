// SPDX-License-Identifier: Apache-2.0
// A pruner for a checkpoint on disk: router and experts composed from parts, straight from the mapped bytes.
// usage: prune_a_checkpoint MODEL OUT
#include <cstdio>
#include <exception>
#include <filesystem>
#include <vector>

#include <cull/checkpoint.hpp>
#include <cull/selection.hpp>

namespace {

/// Stands for the hidden states that your engine has in front of a MoE block, `[tokens, hidden]`.
std::vector<float> hidden_states(std::int64_t tokens, std::int64_t hidden) {
  std::vector<float> x(static_cast<std::size_t>(tokens * hidden));
  unsigned state = 1;
  for (auto& value : x) value = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1.0f;
  return x;
}

void prune(std::filesystem::path const& dir, std::filesystem::path const& out) {
  auto const model = cull::checkpoint::open(dir);  // headers only
  cull::on_cpu const exec{.threads = 2};
  cull::observation seen{exec, {.layers = model.moe_layers(), .experts = model.experts()}};

  for (int const number : model.moe_layers()) {
    auto const layer = model.moe_layer(number);  // views of router and experts
    // The model's own router, composed by hand; cull::model_router(layer) reads the same from config.json.
    auto const router = cull::score<cull::sigmoid>() | cull::prefer(layer.correction_bias) | cull::choose(layer.router.top_k) |
                        cull::renormalize(1e-20f) | cull::scale(2.5f);
    cull::collector collect{exec, router, layer};  // dequantises each fired expert on the fly
    auto const x = hidden_states(64, layer.hidden());
    auto const y = collect({.router_input = {x.data(), 64, layer.hidden()}}, seen.at(number));
    std::printf("layer %d: routed output %lld x %lld\n", number, static_cast<long long>(y.rows()),
                static_cast<long long>(y.cols()));
  }
  seen.finish();

  auto const plan = cull::plan(model, cull::select(seen, cull::reap, cull::keep{42}));
  cull::apply(model, plan, out);
  auto const proof = cull::verify(model, plan, out);
  std::printf("verified %lld tensors, %llu bytes\n", static_cast<long long>(proof.tensors),
              static_cast<unsigned long long>(proof.bytes));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: prune_a_checkpoint MODEL OUT\n");
    return 2;
  }
  prune(argv[1], argv[2]);
  return 0;
} catch (std::exception const& problem) {
  std::fprintf(stderr, "%s\n", problem.what());
  return 1;
}
