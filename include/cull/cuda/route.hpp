// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include <cull/cuda/context.hpp>
#include <cull/cuda/device_buffer.hpp>
#include <cull/cuda/warp_stages.hpp>
#include <cull/cuda/warp_tiles.hpp>
#include <cull/router/route.hpp>

CULL_NAMESPACE_BEGIN

/// Tokens that `route` could not route, counted on the device.
struct routing_failures {
  std::uint32_t not_finite = 0;  ///< a logit is NaN or infinite
  std::uint32_t too_few = 0;     ///< fewer eligible experts than k
};

/// Device memory that `route` fills: ids and weights [tokens, k]; adds to `failures`.
struct routing_target {
  matrix_view<std::int32_t, device_memory> ids;
  matrix_view<float, device_memory> weights;
  routing_failures* failures = nullptr;
};

namespace simt {

/// A warp routes a token at a time, its row in shared memory. `Experts`: room in a row.
template <class Router, int Experts>
struct route_rows {
  static constexpr unsigned threads = 128;
  static constexpr int max_k = 64;
  struct Shared {
    warp_row_memory<Experts, max_k> rows[threads / 32];
  };

  Router router;
  matrix_view<float const, device_memory> logits;
  routing_target out;
  int k;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, Shared& s) const {
    auto const row = s.rows[c.warp()].row(static_cast<int>(logits.cols()), k);
    constexpr unsigned warps = threads / 32;
    for (auto t = std::int64_t{c.block()} * warps + c.warp(); t < logits.rows(); t += std::int64_t{c.blocks()} * warps) {
      bool const sound = begin_row(c, row, t);
      if (sound) {
        run_stage(c, router, row);
        count_candidates(c, row);
      } else if (c.lane() == 0) {
        c.atomic_add(&out.failures->not_finite, 1u);
      }
      for (int i = static_cast<int>(c.lane()); i < k; i += 32) {
        c.store(&out.ids(t, i), sound ? c.load_shared(row.ids + i) : 0);
        c.store(&out.weights(t, i), sound ? c.load_shared(row.weights + i) : 0.0f);
      }
      c.sync_warp();
    }
  }

 private:
  /// Whether all logits are finite.
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD bool begin_row(Ctx const& c, warp_row const& row, std::int64_t token) const {
    bool finite = true;
    for_own_experts(c, row, [&](int e) {
      float const logit = c.load(&logits(token, e), streamed{});
      finite = finite && (bits_as<std::uint32_t>(logit) & 0x7f800000u) != 0x7f800000u;
      c.store_shared(row.scores + e, logit);
      c.store_shared(row.candidate + e, std::uint8_t{1});
    });
    c.sync_warp();
    return c.ballot(!finite) == 0;
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void count_candidates(Ctx const& c, warp_row const& row) const {
    int own = 0;
    for_own_experts(c, row, [&](int e) { own += c.load_shared(row.candidate + e) != 0; });
    int const all = warp_sum(c, own);
    if (all < k && c.lane() == 0) c.atomic_add(&out.failures->too_few, 1u);
  }
};

}  // namespace simt

struct route_into_op;

template <simt::device_executor E>
struct impl<route_into_op, E> {
  template <class Router>
  static void run(E const& exec, Router const& router, matrix_view<float const, device_memory> logits, routing_target out) {
    if (logits.rows() == 0) return;
    if (logits.cols() <= 256) {
      launch<256>(exec, router, logits, out);
    } else {
      launch<1024>(exec, router, logits, out);
    }
  }

 private:
  template <int Experts, class Router>
  static void launch(E const& exec, Router const& router, matrix_view<float const, device_memory> logits, routing_target out) {
    simt::route_rows<Router, Experts> const body{router, logits, out, router.k()};
    exec.launch(simt::grid_of(logits.rows() * 32, body.threads), body);
  }
};

/// `route` on the device, enqueued: the ids and weights of the CPU, bit for bit. Tokens that it refuses get ids and weights of 0
/// and are counted in `out.failures`. The router's views (biases, kept ids) are device memory. Throws `errc::shape_mismatch`,
/// `errc::out_of_range` (more than 1,024 experts, k above 64), and what the stages' checks throw.
template <class Exec, router R, class T>
requires std::same_as < std::remove_const_t<T>,
float > &&implemented_on<route_into_op, Exec>&& stage_in<R, device_memory> void route(Exec const& exec, R const& router,
                                                                                      matrix_view<T, device_memory> logits,
                                                                                      routing_target out) {
  if constexpr (requires { router.check(logits.cols()); }) router.check(logits.cols());
  if (logits.cols() > 1024 || router.k() > 64) {
    throw error{errc::out_of_range, "route: on a device up to 1024 experts and a k of up to 64, not " +
                                        std::to_string(logits.cols()) + " and " + std::to_string(router.k())};
  }
  auto const fits = [&](auto const& m) { return m.rows() == logits.rows() && m.cols() == router.k(); };
  if (!fits(out.ids) || !fits(out.weights) || out.failures == nullptr) {
    throw error{errc::shape_mismatch, "route: ids and weights must be [tokens, k], and there must be a place for failures"};
  }
  impl<route_into_op, Exec>::run(exec, router, matrix_view<float const, device_memory>{logits}, out);
}

/// A routing that owns its device memory; the counterpart of `routing_buffer`.
template <simt::device_executor Exec>
class device_routing {
 public:
  explicit device_routing(Exec exec) : ids_(exec), weights_(exec), failures_(exec, 1) { failures_.fill_zero(); }

  void resize(std::int64_t tokens, std::int64_t k) {
    tokens_ = tokens;
    k_ = k;
    ids_.resize(tokens * k);
    weights_.resize(tokens * k);
  }
  routing_target target() { return {{ids_.data(), tokens_, k_}, {weights_.data(), tokens_, k_}, failures_.data()}; }
  routing<device_memory> view() const { return {{ids_.data(), tokens_, k_}, {weights_.data(), tokens_, k_}}; }

  /// Waits for the executor; throws what `route` on the CPU would have thrown: `errc::not_finite`, `errc::out_of_range`.
  void check() const {
    auto const& exec = failures_.executor();
    routing_failures seen;
    exec.copy_out(&seen, failures_.data(), sizeof seen);
    exec.synchronize();
    if (seen.not_finite != 0) {
      throw error{errc::not_finite, "route: " + std::to_string(seen.not_finite) + " tokens have a logit that is not finite"};
    }
    if (seen.too_few != 0) {
      throw error{errc::out_of_range, "route: " + std::to_string(seen.too_few) +
                                          " tokens have fewer eligible experts than they need; keep more experts per group"};
    }
  }

 private:
  std::int64_t tokens_ = 0;
  std::int64_t k_ = 0;
  device_buffer<std::int32_t, Exec> ids_;
  device_buffer<float, Exec> weights_;
  device_buffer<routing_failures, Exec> failures_;
};

/// An empty routing on the device.
template <simt::device_executor Exec>
device_routing<Exec> routing_on(Exec const& exec) {
  return device_routing<Exec>{exec};
}

template <class Exec, router R, class T>
requires std::same_as < std::remove_const_t<T>,
float > &&implemented_on<route_into_op, Exec>&& stage_in<R, device_memory> void route(Exec const& exec, R const& router,
                                                                                      matrix_view<T, device_memory> logits,
                                                                                      device_routing<Exec>& out) {
  out.resize(logits.rows(), router.k());
  route(exec, router, logits, out.target());
}

CULL_NAMESPACE_END
