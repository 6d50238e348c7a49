// SPDX-License-Identifier: Apache-2.0
#include <engine/feed_forward.hpp>

#include <algorithm>
#include <numeric>
#include <optional>

#include <cull/expert.hpp>

namespace engine {
namespace {

class dense_layer final : public feed_forward {
 public:
  dense_layer(cull::checkpoint const& model, model_config const& config, std::string const& prefix, dense const& products)
      : mlp_(model, prefix, config.hidden, model.config().integer("intermediate_size"), products) {}

  buffer operator()(matrix_view<float const> x, moe_watch const& watch) override {
    return timed(watch.times, stage::dense_mlp, [&] { return mlp_(x); });
  }

 private:
  gated_mlp mlp_;
};

std::optional<gated_mlp> load_shared(cull::checkpoint const& model, model_config const& config, std::string const& prefix,
                                     dense const& products) {
  auto const count = model.config().integer(config.kind->shared_count, 0);
  if (count == 0) return std::nullopt;
  return gated_mlp{model, prefix + "shared_experts.", config.hidden, count * model.config().integer("moe_intermediate_size"),
                   products};
}

template <class Precision>
class expert_layer final : public feed_forward {
 public:
  expert_layer(cull::checkpoint const& model, model_config const& config, int number, std::string const& prefix,
               dense const& products)
      : layer_(model.moe_layer(number)),
        exec_(products.exec()),
        kept_(all_rows()),
        collect_(collector()),
        shared_(load_shared(model, config, prefix, products)) {}

  buffer operator()(matrix_view<float const> x, moe_watch const& watch) override {
    auto const routed = timed(watch.times, stage::experts, [&] {
      return watch.observer == nullptr ? collect_->run({.router_input = x})
                                       : (*collect_)({.router_input = x,
                                                      .weights = watch.weights,
                                                      .sequence = watch.sequence,
                                                      .domain = watch.domain,
                                                      .residual = watch.residual,
                                                      .leave_one_out = watch.leave_one_out},
                                                     watch.observer->at(layer_.number));
    });
    if (watch.routing) watch.routing(collect_->routing());
    buffer out = timed(watch.times, stage::dense_mlp, [&] { return shared_ ? (*shared_)(x) : buffer{x.rows(), x.cols()}; });
    for (std::int64_t t = 0; t < x.rows(); ++t) {
      for (std::int64_t i = 0; i < x.cols(); ++i) out.row(t)[i] = routed(t, i) + out.row(t)[i];
    }
    return out;
  }

  void keep_only(std::vector<int> const& kept) override {
    kept_ = kept;
    for (std::int64_t row = layer_.router_rows() - layer_.router.zero_experts; row < layer_.router_rows(); ++row)
      kept_.push_back(static_cast<int>(row));
    collect_.emplace(collector());
  }

 private:
  using restricted_router = decltype(cull::keep_only{cull::array_view<int const>{}} | std::declval<cull::model_router>());
  using collector_type = cull::collector<cull::on_cpu, restricted_router, cull::moe_layer<>, Precision>;

  std::vector<int> all_rows() const {
    std::vector<int> out(static_cast<std::size_t>(layer_.router_rows()));
    std::iota(out.begin(), out.end(), 0);
    return out;
  }
  collector_type collector() const {
    return {exec_, cull::keep_only{cull::array_view<int const>{kept_}} | cull::model_router(layer_), layer_, Precision{}};
  }

  cull::moe_layer<> layer_;
  cull::on_cpu exec_;
  std::vector<int> kept_;
  std::optional<collector_type> collect_;
  std::optional<gated_mlp> shared_;
};

}  // namespace

gated_mlp::gated_mlp(cull::checkpoint const& model, std::string const& prefix, std::int64_t hidden, std::int64_t width,
                     dense const& products)
    : products_(products),
      weights_{load_matrix(model, prefix + "gate_proj.weight", width, hidden),
               load_matrix(model, prefix + "up_proj.weight", width, hidden),
               load_matrix(model, prefix + "down_proj.weight", hidden, width)} {}

buffer gated_mlp::operator()(matrix_view<float const> x) const { return products_(x, weights_); }

std::unique_ptr<feed_forward> load_feed_forward(cull::checkpoint const& model, model_config const& config, int layer,
                                                dense const& products) {
  auto const prefix = "model.layers." + std::to_string(layer) + ".mlp.";
  auto const& routed = model.moe_layers();
  if (!std::binary_search(routed.begin(), routed.end(), layer))
    return std::make_unique<dense_layer>(model, config, prefix, products);
  if (products.policy() == precision::bf16) {
    return std::make_unique<expert_layer<cull::bf16_precision>>(model, config, layer, prefix, products);
  }
  return std::make_unique<expert_layer<cull::f32_precision>>(model, config, layer, prefix, products);
}

}  // namespace engine
