// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/conversion.hpp>
#include <cull/checkpoint/expert_makers.hpp>
#include <cull/checkpoint/expert_tensors.hpp>
#include <cull/checkpoint/kept_scales.hpp>
#include <cull/checkpoint/layer_reader.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/checkpoint/quantization_config.hpp>
#include <cull/checkpoint/shard_collector.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Lays out a model whose experts are stored otherwise. Own tensors of experts stay own ones; fused ones stay fused where values
/// are written plainly, and become each expert's own as NVFP4, which serving engines read in that form.
template <class Exec>
class conversion_planner {
 public:
  conversion_planner(Exec const& exec, checkpoint const& model, conversion const& wanted)
      : exec_(exec), model_(model), of_(model.family()), wanted_(wanted), scales_(model, wanted), out_(model) {}

  std::unique_ptr<output_layout> plan() {
    for (int const layer : model_.moe_layers()) add_layer(layer);
    if (!changed_) {
      throw error{errc::unsupported_format,
                  "the experts are stored as " + std::string{name(wanted_.to)} + " already",
                  {.file = model_.dir().string()}};
    }
    for (auto const& t : model_.tensors()) {
      if (!is_expert_matrix(of_, model_.place_of(t.name))) keep(t);
    }
    for (auto& scale : input_scales_) {
      if (parts_.input_scales) out_.add(scale.shard, std::move(scale.tensor), {.made = made_by(std::move(scale.make))});
    }
    auto out = std::make_unique<output_layout>();
    out->made_for = std::string{name(wanted_.to)} + (wanted_.sharing == scale_sharing::none ? " each " : " ") +
                    (wanted_.original ? wanted_.original->dir().string() : "");
    out->shards = std::move(out_).shards();
    out->ledger = ledger_of(model_, out->shards);
    add_texts(*out);
    find_side_files(model_, *out);
    std::erase(out->side_files, std::filesystem::path{quant_file});
    out->bytes = total_bytes(model_, *out);
    return out;
  }

 private:
  static constexpr char quant_file[] = "hf_quant_config.json";
  struct made_tensor {
    int shard;
    tensor_info tensor;
    tensor_maker make;
  };
  /// One projection of an expert: its matrix, what its tensors are called, and the tensor that holds its weights now.
  struct projection {
    weight_matrix const* matrix;
    std::string stem;
    tensor_info const* stored;
    std::vector<weight_matrix> sharing;  // one tensor scale
  };

  void keep(tensor_info const& t) {
    bool const plain = t.type == dtype::bf16 || t.type == dtype::f16 || t.type == dtype::f32;
    constexpr std::string_view suffix = ".weight";
    if (t.name.ends_with(suffix) && t.shape.size() == 2) {
      if (plain) parts_.plain_modules.push_back(t.name.substr(0, t.name.size() - suffix.size()));
    }
    if (!plain && t.shape.size() >= 2) parts_.others_quantized = true;
    out_.add(t.shard, {t.name, t.type, t.shape}, {.source = &t});
  }

  void add_layer(int number) {
    parts_.expert_modules.push_back(expert_module(model_, number));
    auto const layer = model_.moe_layer(number);
    auto const fused_down = model_.name_in(number, of_.fused.down);
    bool const fused = !of_.fused.down.empty() && stored_weights(model_, fused_down) != nullptr;
    if (fused && !is_nvfp4(wanted_.to)) {
      for (auto const& stem : {of_.fused.gate_up, of_.fused.gate, of_.fused.up, of_.fused.down}) {
        if (!stem.empty()) add_fused(model_.name_in(number, stem), model_.experts(number));
      }
      return;
    }
    if (fused && (of_.experts.empty() || of_.up.empty() || !layer.experts.front().down_bias.empty())) {
      throw error{errc::unsupported_format,
                  "experts that share tensors become each its own as NVFP4, for which this family has no names; convert to bf16",
                  {.file = model_.dir().string(), .tensor = fused_down}};
    }
    for (int e = 0; e < model_.experts(number); ++e) add_expert(number, e, layer.experts[static_cast<std::size_t>(e)], fused);
  }

  void add_fused(std::string const& stem, int experts) {
    auto const* const stored = stored_weights(model_, stem);
    if (stored == nullptr) return;
    std::vector<weight_matrix> matrices;
    for (int e = 0; e < experts; ++e) {
      matrices.push_back(matrix_reader<weight_matrix>::read(model_.site(stem, e, {}, of_.fused.transposed)));
    }
    auto const rows = static_cast<std::uint64_t>(matrices.front().rows());
    auto const cols = static_cast<std::uint64_t>(matrices.front().cols());
    if (stored->type == plain_type())
      return out_.add(stored->shard, {stored->name, stored->type, stored->shape}, {.source = stored});
    changed_ = true;
    std::vector<std::uint64_t> shape{matrices.size(), rows, cols};
    if (of_.fused.transposed) std::swap(shape[1], shape[2]);
    auto const name = stem + (stored->name.starts_with(stem + ".") ? ".weight" : "");
    out_.add(stored->shard, {name, plain_type(), shape}, {.made = made_by(values_of(std::move(matrices), of_.fused.transposed))});
  }

  void add_expert(int layer, int e, gated_expert<> const& expert, bool fused) {
    auto const& f = of_.fused;
    auto const stored = [&](std::string const& own, std::string const& joined, std::string const& apart) {
      if (!fused) return stored_weights(model_, model_.name_in(layer, e, own));
      auto const* const both = joined.empty() ? nullptr : stored_weights(model_, model_.name_in(layer, joined));
      return both != nullptr ? both : stored_weights(model_, model_.name_in(layer, apart));
    };
    std::vector<weight_matrix> entering{expert.up};
    if (expert.gate.rows() > 0) {
      if (wanted_.sharing == scale_sharing::none) entering.clear();
      entering.push_back(expert.gate);
      add_projection({&expert.gate, model_.name_in(layer, e, of_.gate), stored(of_.gate, f.gate_up, f.gate), entering});
    }
    if (wanted_.sharing == scale_sharing::none) entering = {expert.up};
    add_projection({&expert.up, model_.name_in(layer, e, of_.up), stored(of_.up, f.gate_up, f.up), entering});
    add_projection({&expert.down, model_.name_in(layer, e, of_.down), stored(of_.down, "", f.down), {expert.down}});
  }

  void add_projection(projection const& of) {
    if (of.stored == nullptr) throw error{errc::incomplete_expert, "is missing", {.tensor = of.stem + ".weight"}};
    auto const rows = static_cast<std::uint64_t>(of.matrix->rows());
    auto const cols = static_cast<std::uint64_t>(of.matrix->cols());
    if (!is_nvfp4(wanted_.to)) {
      if (of.stored->type == plain_type()) {
        return out_.add(of.stored->shard, {of.stored->name, of.stored->type, of.stored->shape}, {.source = of.stored});
      }
      changed_ = true;
      return out_.add(of.stored->shard, {of.stem + ".weight", plain_type(), {rows, cols}},
                      {.made = made_by(values_of({*of.matrix}, false))});
    }
    bool const to_modelopt = wanted_.to == expert_storage::modelopt_nvfp4;
    auto const makers =
        to_modelopt
            ? as_nvfp4<modelopt>(exec_, *of.matrix, of.sharing, scales_.original(of.stem + ".weight_scale_2"))
            : as_nvfp4<compressed_tensors>(exec_, *of.matrix, of.sharing, scales_.original(of.stem + ".weight_global_scale"));
    changed_ |= (to_modelopt ? of.matrix->template get_if<nvfp4_modelopt>() == nullptr
                             : of.matrix->template get_if<nvfp4_compressed>() == nullptr);
    auto const add = [&](char const* suffix, dtype type, std::vector<std::uint64_t> shape, tensor_maker make) {
      out_.add(of.stored->shard, {of.stem + suffix, type, std::move(shape)}, {.made = made_by(std::move(make))});
    };
    add(to_modelopt ? ".weight" : ".weight_packed", dtype::u8, {rows, cols / 2}, makers.codes);
    add(".weight_scale", dtype::f8_e4m3, {rows, cols / 16}, makers.scales);
    add(to_modelopt ? ".weight_scale_2" : ".weight_global_scale", dtype::f32, scalar_shape(), make_scalar(makers.tensor_scale));
    add_input_scale(of);
  }

  /// The scale of activations, where the source has one; it is written only if all experts have it.
  void add_input_scale(projection const& of) {
    auto const value = scales_.activation(of.stem);
    if (!value) parts_.input_scales = false;
    auto const name = of.stem + (wanted_.to == expert_storage::modelopt_nvfp4 ? ".input_scale" : ".input_global_scale");
    if (value)
      input_scales_.push_back({of.stored->shard, {name, dtype::f32, scalar_shape()}, make_scalar([v = *value] { return v; })});
  }

  dtype plain_type() const { return wanted_.to == expert_storage::f32 ? dtype::f32 : dtype::bf16; }
  std::vector<std::uint64_t> scalar_shape() const {
    return wanted_.to == expert_storage::modelopt_nvfp4 ? std::vector<std::uint64_t>{} : std::vector<std::uint64_t>{1};
  }
  static std::shared_ptr<made_bytes const> made_by(tensor_maker make) {
    return std::make_shared<made_bytes>(made_bytes{std::move(make), {}});
  }
  tensor_maker values_of(std::vector<weight_matrix> matrices, bool transposed) const {
    return wanted_.to == expert_storage::f32 ? make_values<float>(exec_, std::move(matrices), transposed)
                                             : make_values<bf16>(exec_, std::move(matrices), transposed);
  }

  void add_texts(output_layout& out) {
    parts_.experts = wanted_.to;
    if (is_nvfp4(wanted_.to) && parts_.others_quantized) {
      throw error{errc::unsupported_format,
                  "other matrices than the experts' are quantised too, which one config cannot say; convert to bf16",
                  {.file = model_.config().file()}};
    }
    out.texts.push_back({"config.json", converted_config(parts_, model_.config().text(), model_.config().file())});
    if (wanted_.to == expert_storage::modelopt_nvfp4) out.texts.push_back({quant_file, hf_quant_config(parts_)});
    auto const index = model_.dir() / index_file_name;
    if (std::filesystem::exists(index)) out.texts.push_back({index_file_name, index_text(out, index_frame::read(index))});
  }

  Exec exec_;
  checkpoint const& model_;
  cull::family const& of_;
  conversion const& wanted_;
  kept_scales scales_;
  shard_collector out_;
  std::vector<made_tensor> input_scales_;
  quantized_parts parts_{.input_scales = true};
  bool changed_ = false;
};

}  // namespace detail

/// Lays out the converted checkpoint, from headers and scalars alone. Valid as long as `model`. Throws `errc::unsupported_format`
/// where the model is stored so already or the target has no place for something, and what reading a MoE layer throws.
template <class Exec>
std::unique_ptr<output_layout> lay_out(Exec const& exec, checkpoint const& model, conversion const& wanted) {
  return detail::conversion_planner<Exec>{exec, model, wanted}.plan();
}

CULL_NAMESPACE_END
