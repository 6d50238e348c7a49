// SPDX-License-Identifier: Apache-2.0
#include <engine/rope.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <string_view>

#include <cull/error.hpp>

namespace engine {
namespace {

/// Rotary settings under today's names, wherever the file has them.
class rope_keys {
 public:
  explicit rope_keys(cull::config_view const& config) : config_(config) {}

  std::string type() const {
    auto const old = config_.text("rope_scaling.type", "default");
    return config_.text("rope_parameters.rope_type", config_.text("rope_scaling.rope_type", old));
  }
  double theta() const {
    return config_.has("rope_parameters.rope_theta") ? config_.number("rope_parameters.rope_theta")
                                                     : config_.number("rope_theta");
  }
  bool has(std::string const& key) const { return config_.has(place(key)); }
  double number(std::string const& key) const { return config_.number(place(key)); }
  double number(std::string const& key, double otherwise) const { return config_.number(place(key), otherwise); }
  bool boolean(std::string const& key, bool otherwise) const { return config_.boolean(place(key), otherwise); }

 private:
  std::string place(std::string const& key) const {
    return (config_.has("rope_parameters") ? "rope_parameters." : "rope_scaling.") + key;
  }
  cull::config_view const& config_;
};

double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

float yarn_factor(rope_keys const& keys) {
  if (keys.has("attention_factor")) return static_cast<float>(keys.number("attention_factor"));
  double const factor = keys.number("factor"), above = keys.number("mscale", 0), below = keys.number("mscale_all_dim", 0);
  if (above != 0 && below != 0) return static_cast<float>(yarn_scale(factor, above) / yarn_scale(factor, below));
  return static_cast<float>(yarn_scale(factor, 1));
}

/// The pair at which `rotations` turns fit into the original context.
double correction_pair(double rotations, std::int64_t dims, double theta, double context) {
  return static_cast<double>(dims) * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

float product(float a, float b) { return static_cast<float>(static_cast<double>(a) * static_cast<double>(b)); }

/// Slow pairs keep their range of angles over the longer context (interpolated), fast ones their speed. `periods`:
/// theta^(2i/dims).
std::vector<float> stretched(std::vector<float> const& periods, rope_keys const& keys) {
  auto const dims = 2 * static_cast<std::int64_t>(periods.size());
  double const context = keys.number("original_max_position_embeddings");
  double low = correction_pair(keys.number("beta_fast", 32), dims, keys.theta(), context);
  double high = correction_pair(keys.number("beta_slow", 1), dims, keys.theta(), context);
  if (keys.boolean("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dims - 1));
  if (low == high) high += 0.001;  // as transformers keeps the ramp finite
  auto const factor = static_cast<float>(keys.number("factor"));
  std::vector<float> out;
  for (std::size_t i = 0; i < periods.size(); ++i) {
    float const ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    float const fast = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    out.push_back(product(1.0f / product(factor, periods[i]), 1.0f - fast) + product(1.0f / periods[i], fast));
  }
  return out;
}

}  // namespace

std::vector<float> rope::turn(std::int64_t position) const {
  std::vector<float> out;
  for (float const frequency : frequency_) {
    auto const angle = static_cast<double>(static_cast<float>(position) * frequency);
    out.push_back(static_cast<float>(std::cos(angle)) * factor_);
    out.push_back(static_cast<float>(std::sin(angle)) * factor_);
  }
  return out;
}

void rope::rotate(std::vector<float> const& turn, float* x) const {
  auto const pairs = turn.size() / 2;
  auto const step = pairs_ == rotary_pairs::adjacent ? std::size_t{2} : std::size_t{1};
  auto const apart = pairs_ == rotary_pairs::adjacent ? std::size_t{1} : pairs;
  for (std::size_t i = 0; i < pairs; ++i) {
    float& first = x[i * step];
    float& second = x[i * step + apart];
    double const a = first, b = second, cosine = turn[2 * i], sine = turn[2 * i + 1];
    first = static_cast<float>(a * cosine - b * sine);
    second = static_cast<float>(b * cosine + a * sine);
  }
}

rope read_rope(cull::config_view const& config, std::int64_t dims, rotary_pairs pairs) {
  rope_keys const keys{config};
  std::vector<float> periods;
  for (std::int64_t i = 0; i < dims; i += 2) {
    auto const exponent = static_cast<float>(i) / static_cast<float>(dims);
    periods.push_back(static_cast<float>(std::pow(keys.theta(), static_cast<double>(exponent))));
  }
  auto const type = keys.type();
  if (type == "default") {
    for (float& each : periods) each = 1.0f / each;
    return {std::move(periods), 1, pairs};
  }
  if (type != "yarn") {
    throw cull::error{cull::errc::unsupported_model,
                      "rope_type '" + type + "' is not supported, only 'default' and 'yarn'",
                      {.file = config.file()}};
  }
  return {stretched(periods, keys), yarn_factor(keys), pairs};
}

double yarn_softmax_factor(cull::config_view const& config) {
  rope_keys const keys{config};
  if (keys.type() == "default") return 1;
  double const mscale = keys.number("mscale_all_dim", 0);
  if (mscale == 0) return 1;
  double const scale = yarn_scale(keys.number("factor"), mscale);
  return scale * scale;
}

}  // namespace engine
