// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace engine {

/// What a run spends its time on. `experts`: routing, experts and what is observed of them; `other`: embedding, norms, residual
/// sums and whatever else there is.
enum class stage { attention, experts, dense_mlp, other };

/// Seconds by stage.
struct stage_times {
  static constexpr std::array<stage, 4> all{stage::attention, stage::experts, stage::dense_mlp, stage::other};

  std::array<double, all.size()> seconds{};

  double& operator[](stage of) { return seconds[static_cast<std::size_t>(of)]; }
  double operator[](stage of) const { return seconds[static_cast<std::size_t>(of)]; }
  static constexpr char const* name(stage of) {
    constexpr std::array<char const*, all.size()> names{"attention", "experts", "dense_mlp", "other"};
    return names[static_cast<std::size_t>(of)];
  }
  /// Gives `other` what is left of a run's seconds.
  void close(double total) {
    (*this)[stage::other] = 0;
    double known = 0;
    for (double const s : seconds) known += s;
    (*this)[stage::other] = total > known ? total - known : 0;
  }
};

/// `f()`, its time added to a stage where somebody wants it.
template <class F>
decltype(auto) timed(stage_times* times, stage of, F&& f) {
  struct clock {
    stage_times* to;
    stage of;
    std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
    ~clock() {
      if (to != nullptr) (*to)[of] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
  } const running{times, of};
  return f();
}

}  // namespace engine
