// SPDX-License-Identifier: Apache-2.0
// What lies in device memory, given to the CPU.
// A line with "// refused: TEXT" compiles as it is, and with CULL_FAIL has an error with that text.
#include <cull/expert.hpp>
#include <cull/router.hpp>
#include <cull/saliency.hpp>
#include <cull/tensor.hpp>

// clang-format off: what is expected stands on the line of its call
namespace {

#if defined(CULL_FAIL)
using other = cull::device_memory;
#else
using other = cull::host_memory;
#endif
template <class T, class Space = cull::host_memory>
using rows = cull::matrix_view<T, Space>;
template <class Space = cull::host_memory>
using weights = cull::matrix<cull::nvfp4_modelopt, Space>;
template <class Space = cull::host_memory>
using layer = std::span<cull::gated_expert<weights<Space>> const>;

cull::on_cpu const exec;

}  // namespace

void tensors(weights<other> const& there, weights<> const& here, rows<float, other> target, rows<float> host_target,
             rows<float const, other> source, cull::nvfp4_buffer& buffer) {
  cull::dequantize(exec, there, host_target);                // refused: 'cull::v0_1::host_memory'
  cull::dequantize(exec, here, target);                      // refused: 'cull::v0_1::host_memory'
  cull::quantize(exec, cull::modelopt{}, source, buffer);    // refused: mismatched types 'cull::v0_1::host_memory' and 'cull::v0_1::device_memory'
}
void route(rows<float const, other> there, rows<float const> logits, cull::array_view<float const, other> bias,
           cull::routing_buffer& out) {
  cull::route(exec, cull::score<cull::sigmoid>() | cull::choose(8), there, out);  // refused: mismatched types 'cull::v0_1::host_memory' and 'cull::v0_1::device_memory'
  cull::route(exec, cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(8), logits, out);  // refused: stage_in
}
void experts(layer<other> there, layer<> all, rows<float const, other> x_there, rows<float const> x,
             cull::routing<other> const& routing_there, cull::routing<> const& chosen, rows<float> outputs, rows<float, other> outputs_there,
             rows<double> norms, rows<double, other> norms_there) {
  cull::matmul(exec, x_there, all[0].up, outputs);                // refused: mismatched types 'cull::v0_1::host_memory' and 'cull::v0_1::device_memory'
  cull::matmul(exec, x, there[0].up, outputs);                    // refused: matmul: the weights lie in another memory than the executor works on
  cull::run_experts(exec, there, x, chosen, outputs);             // refused: run_experts: the experts lie in another memory than the executor works on
  cull::run_experts(exec, all, x, chosen, outputs_there);         // refused: device_memory>' to 'cull::v0_1::matrix_view<float, cull::v0_1::host_memory>'
  cull::expert_mlp(exec, there[0], x, outputs);                   // refused: expert_mlp: the expert lies in another memory than the executor works on
  cull::expert_mlp(exec, all[0], x_there, outputs);               // refused: mismatched types 'cull::v0_1::host_memory' and 'cull::v0_1::device_memory'
  cull::expert_norms(exec, there, x, chosen, norms);              // refused: expert_norms: the experts lie in another memory than the executor works on
  cull::expert_norms(exec, all, x, chosen, norms_there);          // refused: device_memory>' to 'cull::v0_1::matrix_view<double, cull::v0_1::host_memory>'
  cull::combine(exec, routing_there, outputs, outputs, norms);    // refused: 'cull::v0_1::routing<cull::v0_1::device_memory>'
  cull::combine(exec, chosen, outputs_there, outputs, norms);     // refused: device_memory>' to 'cull::v0_1::matrix_view<const float, cull::v0_1::host_memory>'
}
void observe(cull::routing<other> const& routing_there, cull::routing<> const& chosen, rows<float const, other> norms_there,
             rows<float const> norms) {
  cull::observation seen{exec, {.layers = {0}, .experts = 8}};
  cull::add(exec, seen.at(0), chosen, {.norms = norms_there});  // refused: device_memory>' to 'cull::v0_1::norm_view<>'
  cull::add(exec, seen.at(0), routing_there, {.norms = norms});  // refused: 'cull::v0_1::routing<cull::v0_1::device_memory>'
}
