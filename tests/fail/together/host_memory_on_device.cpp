// SPDX-License-Identifier: Apache-2.0
// What lies in host memory, given to an executor that works on device memory.
// A line with "// refused: TEXT" compiles as it is, and with CULL_FAIL has an error with that text.
#include <cull/cuda/combine.hpp>
#include <cull/cuda/dequantize.hpp>
#include <cull/cuda/expert_mlp.hpp>
#include <cull/cuda/matmul.hpp>
#include <cull/cuda/observation.hpp>
#include <cull/cuda/quantize.hpp>
#include <cull/cuda/relayout.hpp>
#include <cull/cuda/route.hpp>
#include <cull/cuda/run_experts.hpp>
#include <cull/cuda/select.hpp>
#include <cull/router.hpp>
#include <cull/tensor/fp8.hpp>

#include "../on_some_device.hpp"

// clang-format off: what is expected stands on the line of its call
namespace {

#if defined(CULL_FAIL)
using other = cull::host_memory;
using other_format = cull::fp8_tensor;
#else
using other = cull::device_memory;
using other_format = cull::nvfp4_modelopt;
#endif
using device = cull::device_memory;
template <class T, class Space = device>
using rows = cull::matrix_view<T, Space>;
template <class Space = device, class Format = cull::nvfp4_modelopt>
using weights = cull::matrix<Format, Space>;
template <class Space = device, class Format = cull::nvfp4_modelopt>
using layer = std::span<cull::gated_expert<weights<Space, Format>> const>;

on_some_device const exec;

}  // namespace

void dequantize(weights<other> const& host, weights<> const& there, rows<float, other> host_target, rows<float> target) {
  cull::dequantize(exec, host, target);         // refused: 'cull::v0_1::device_memory'
  cull::dequantize(exec, there, host_target);   // refused: 'cull::v0_1::device_memory'
}
void quantize(rows<float const, other> source, cull::nvfp4_target target) {
  cull::quantize(exec, cull::modelopt{}, source, target);  // refused: mismatched types 'cull::v0_1::device_memory' and 'cull::v0_1::host_memory'
}
void relayout(cull::array_view<std::uint8_t, other> host, cull::array_view<std::uint8_t, device> there) {
  cull::relayout<cull::linear, cull::tiled_128x4>(exec, host, there, 128, 4);  // refused: host_memory>' to 'cull::v0_1::array_view<const unsigned char, cull::v0_1::device_memory>'
  cull::relayout<cull::linear, cull::tiled_128x4>(exec, there, host, 128, 4);  // refused: host_memory>' to 'cull::v0_1::array_view<unsigned char, cull::v0_1::device_memory>'
}
void route(rows<float const, other> host, rows<float const> logits, cull::array_view<float const, other> bias, rows<std::int32_t, other> ids,
           rows<float, other> gates, cull::routing_target out) {
  auto const router = cull::score<cull::sigmoid>() | cull::choose(8);
  cull::route(exec, router, host, out);  // refused: mismatched types 'cull::v0_1::device_memory' and 'cull::v0_1::host_memory'
  cull::route(exec, cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(8), logits, out);  // refused: stage_in
  cull::route(exec, router, logits, cull::routing_target{ids, {}});    // refused: host_memory>' to 'cull::v0_1::matrix_view<int, cull::v0_1::device_memory>'
  cull::route(exec, router, logits, cull::routing_target{{}, gates});  // refused: host_memory>' to 'cull::v0_1::matrix_view<float, cull::v0_1::device_memory>'
}
void matmul(rows<float const, other> host, rows<float const> x, weights<other> const& host_weights, weights<> const& w,
            weights<device, other_format> const& of_another_format, rows<float> y) {
  cull::matmul(exec, host, w, y);               // refused: mismatched types 'cull::v0_1::device_memory' and 'cull::v0_1::host_memory'
  cull::matmul(exec, x, host_weights, y);       // refused: matmul: the weights lie in another memory than the executor works on
  cull::matmul(exec, x, of_another_format, y);  // refused: on a device products take weights in NVFP4, scales in rows, or in MXFP4
}
void experts(layer<other> host_layer, layer<> all, layer<device, other_format> of_another_format, rows<float const, other> host,
             rows<float const> x, cull::routing<other> const& host_routing, cull::routing<device> const& chosen, rows<float> outputs,
             rows<float, other> host_outputs, rows<double> norms, rows<double, other> host_norms) {
  cull::run_experts(exec, host_layer, x, chosen, outputs);         // refused: run_experts: the experts lie in another memory than the executor works on
  cull::run_experts(exec, of_another_format, x, chosen, outputs);  // refused: on a device products take weights in NVFP4, scales in rows, or in MXFP4
  cull::run_experts(exec, all, host, chosen, outputs);             // refused: mismatched types 'cull::v0_1::device_memory' and 'cull::v0_1::host_memory'
  cull::run_experts(exec, all, x, host_routing, outputs);          // refused: 'cull::v0_1::routing<cull::v0_1::host_memory>'
  cull::expert_mlp(exec, host_layer[0], x, outputs);               // refused: expert_mlp: the expert lies in another memory than the executor works on
  cull::expert_mlp(exec, of_another_format[0], x, outputs);        // refused: on a device products take weights in NVFP4, scales in rows, or in MXFP4
  cull::expert_norms(exec, host_layer, x, chosen, norms);          // refused: expert_norms: the experts lie in another memory than the executor works on
  cull::expert_norms(exec, all, x, chosen, host_norms);            // refused: host_memory>' to 'cull::v0_1::matrix_view<double, cull::v0_1::device_memory>'
  cull::combine(exec, chosen, outputs, host_outputs, norms);       // refused: host_memory>' to 'cull::v0_1::matrix_view<float, cull::v0_1::device_memory>'
  cull::combine(exec, host_routing, outputs, outputs, norms);      // refused: 'cull::v0_1::routing<cull::v0_1::host_memory>'
}
void observe(cull::routing<device> const& chosen, cull::routing<other> const& host_routing, rows<float const, other> host_norms,
             rows<float const> norms) {
  auto seen = cull::observation_on(exec, {.layers = {0}, .experts = 8});
  cull::add(exec, seen.at(0), chosen, {.norms = host_norms});  // refused: host_memory>' to 'cull::v0_1::norm_view<cull::v0_1::device_memory>'
  cull::add(exec, seen.at(0), host_routing, {.norms = norms});  // refused: 'cull::v0_1::routing<cull::v0_1::host_memory>'
}
void select(rows<double const, other> scores, rows<double const> there, rows<std::int32_t> kept, rows<std::int32_t, other> host_kept,
            std::uint32_t* refused) {
  cull::select_layers(exec, scores, {8}, kept, refused);      // refused: host_memory>' to 'cull::v0_1::matrix_view<const double, cull::v0_1::device_memory>'
  cull::select_layers(exec, there, {8}, host_kept, refused);  // refused: host_memory>' to 'cull::v0_1::matrix_view<int, cull::v0_1::device_memory>'
}
