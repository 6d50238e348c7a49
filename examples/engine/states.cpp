// SPDX-License-Identifier: Apache-2.0
#include <engine/states.hpp>

#include <algorithm>
#include <chrono>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cull/router.hpp>
#include <cull/saliency.hpp>

namespace engine {
namespace {

/// A recorded matrix as f32.
struct recording {
  std::vector<float> values;
  std::int64_t rows = 0, cols = 0;
  matrix_view<float const> rows_of(std::int64_t first, std::int64_t count) const {
    return values.empty() ? matrix_view<float const>{} : matrix_view<float const>{values.data() + first * cols, count, cols};
  }
};

recording read(cull::safetensors_file const& file, std::string const& name, std::int64_t hidden, XXH3_state_t& hash) {
  auto const* const info = file.find(name);
  if (info == nullptr) return {};
  if (info->shape.size() != 2 || static_cast<std::int64_t>(info->shape[1]) != hidden) {
    throw cull::error{cull::errc::shape_mismatch,
                      "must be [tokens, " + std::to_string(hidden) + "]",
                      {.file = file.path().string(), .tensor = name}};
  }
  auto const bytes = file.bytes(*info);
  XXH3_128bits_update(&hash, name.data(), name.size());
  XXH3_128bits_update(&hash, bytes.data(), bytes.size());
  return {cull::detail::plain_values({info, bytes}), static_cast<std::int64_t>(info->shape[0]), hidden};
}

/// Returns whether every file has the layer's residuals.
template <class Precision>
bool observe_layer(cull::checkpoint const& model, cull::on_cpu exec, int number, std::span<cull::safetensors_file const> files,
                   std::span<XXH3_state_t> hashes, calibration_options const& options, calibration& out) {
  auto const layer = model.moe_layer(number);
  bool residuals = true;
  for (std::size_t f = 0; f < files.size(); ++f) {
    auto const suffix = std::to_string(number);
    auto const block = read(files[f], "block_input." + suffix, layer.hidden(), hashes[f]);
    auto const expert = read(files[f], "expert_input." + suffix, layer.hidden(), hashes[f]);
    auto const residual = read(files[f], "residual." + suffix, layer.hidden(), hashes[f]);
    if (block.values.empty())
      throw cull::error{
          cull::errc::not_found, "is not recorded", {.file = files[f].path().string(), .tensor = "block_input." + suffix}};
    for (auto const& [name, other] : {std::pair{"expert_input.", &expert}, std::pair{"residual.", &residual}}) {
      if (!other->values.empty() && other->rows != block.rows)
        throw cull::error{cull::errc::shape_mismatch,
                          "has another number of tokens than block_input." + suffix,
                          {.file = files[f].path().string(), .tensor = name + suffix}};
    }
    residuals = residuals && !residual.values.empty();
    heap_rise const rise{options.heap};
    cull::collector collect{exec, cull::model_router(layer), layer, Precision{}};
    auto const step = options.batch_tokens > 0 ? options.batch_tokens : block.rows;
    for (std::int64_t first = 0; first < block.rows; first += step, ++out.batches) {
      auto const count = std::min(step, block.rows - first);
      std::vector<int> const sequence(static_cast<std::size_t>(count), static_cast<int>(f));
      cull::block_inputs const in{.router_input = block.rows_of(first, count),
                                  .expert_input = expert.rows_of(first, count),
                                  .sequence = sequence,
                                  .residual = residual.rows_of(first, count),
                                  .leave_one_out = options.leave_one_out};
      timed(&out.times, stage::experts, [&] {
        // Outputs are only needed by what looks at them.
        if (residual.values.empty() && !options.leave_one_out) return collect.observe(in, out.observation.at(number));
        collect(in, out.observation.at(number));
      });
      if (options.progress) options.progress("layer " + suffix, first + count, block.rows);
    }
    out.observation.at(number).finish();
    auto const states = 4 * (block.values.size() + expert.values.size() + residual.values.size());
    out.state_bytes = std::max(out.state_bytes, static_cast<std::int64_t>(states));
    out.scratch_bytes = std::max(out.scratch_bytes, rise.most());
    out.tokens += number == model.moe_layers().front() ? block.rows : 0;
  }
  return residuals;
}

}  // namespace

calibration calibrate_from_states(cull::checkpoint const& model, cull::on_cpu exec, std::span<std::filesystem::path const> files,
                                  calibration_options const& options) {
  auto const start = std::chrono::steady_clock::now();
  std::vector<cull::safetensors_file> recordings;
  for (auto const& path : files) recordings.emplace_back(path);
  std::vector<XXH3_state_t> hashes(recordings.size());
  for (auto& hash : hashes) XXH3_128bits_reset(&hash);
  calibration out{.observation = observation{exec, {.layers = model.moe_layers(), .experts = model.expert_counts()}}};
  bool residuals = true;
  for (int const layer : model.moe_layers()) {
    bool const complete = options.precision == precision::bf16
                              ? observe_layer<cull::bf16_precision>(model, exec, layer, recordings, hashes, options, out)
                              : observe_layer<cull::f32_precision>(model, exec, layer, recordings, hashes, options, out);
    residuals = residuals && complete;
  }
  auto& provenance = out.observation.provenance();
  provenance = {model.digest(), settings_text(options.precision), {}};
  if (options.leave_one_out) provenance.settings += ";leave_one_out";
  if (!residuals) provenance.settings += ";no_residuals";
  for (auto const& hash : hashes) {
    auto const value = XXH3_128bits_digest(&hash);
    provenance.sequences.push_back({value.high64, value.low64});
  }
  std::sort(provenance.sequences.begin(), provenance.sequences.end());
  if (std::adjacent_find(provenance.sequences.begin(), provenance.sequences.end()) != provenance.sequences.end()) {
    throw cull::error{cull::errc::duplicate_data, "two files of recorded states are the same and would count twice"};
  }
  out.threads = exec.thread_count();
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  out.times.close(out.seconds);
  measure_memory(model, out);
  return out;
}

}  // namespace engine
