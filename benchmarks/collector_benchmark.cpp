// SPDX-License-Identifier: Apache-2.0
// A whole MoE layer of GLM-5.2's shape (256 experts, 6144 x 2048, top-8): routing, every expert, routed output and saliency,
// from 5.4 GB of NVFP4 weights in a mapped file. The ceiling is the expert MLP at the tokens that an expert sees on average.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include <cull/cpu.hpp>
#include <cull/expert.hpp>
#include <cull/router.hpp>
#include <cull/saliency.hpp>

#include "paired.hpp"
#include "weights.hpp"

namespace {

constexpr std::int64_t hidden = 6144, width = 2048, values = hidden * width;
constexpr std::int64_t matrix_bytes = values / 2 + values / 16;

/// `count` experts in a mapped file that is gone when the object is.
class expert_file {
 public:
  explicit expert_file(int count) : size_(static_cast<std::size_t>(3 * count * matrix_bytes)) {
    auto const path = std::filesystem::temp_directory_path() / ("cull_benchmark_" + std::to_string(getpid()));
    std::FILE* const file = std::fopen(path.c_str(), "w+b");
    if (file == nullptr) throw std::runtime_error{"cannot write " + path.string()};
    write(file, count);
    void* const at = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fileno(file), 0);
    std::filesystem::remove(path);
    std::fclose(file);
    if (at == MAP_FAILED) throw std::runtime_error{"cannot map the experts"};
    data_ = static_cast<std::uint8_t const*>(at);
  }
  expert_file(expert_file const&) = delete;
  expert_file& operator=(expert_file const&) = delete;
  ~expert_file() { munmap(const_cast<std::uint8_t*>(data_), size_); }

  cull::matrix<cull::nvfp4_modelopt> matrix(std::int64_t i, std::int64_t rows, std::int64_t cols) const {
    auto const* const at = data_ + i * matrix_bytes;
    return {{at, at + values / 2, 0.002f, cols}, rows, cols};
  }

 private:
  /// One expert's random bytes, turned by a word for each of the others.
  static void write(std::FILE* file, int count) {
    std::mt19937_64 random{3};
    std::vector<std::uint64_t> codes(static_cast<std::size_t>(values) / 16);
    std::vector<std::uint8_t> scales(static_cast<std::size_t>(values) / 16);
    for (auto& word : codes) word = random();
    for (auto& scale : scales) scale = static_cast<std::uint8_t>(0x30 + random() % 24);
    for (int m = 0; m < 3 * count; ++m) {
      auto const turn = static_cast<std::size_t>(m) * 7919 % codes.size();
      std::fwrite(codes.data() + turn, 8, codes.size() - turn, file);
      std::fwrite(codes.data(), 8, turn, file);
      std::fwrite(scales.data(), 1, scales.size(), file);
    }
    std::fflush(file);
  }

  std::size_t size_;
  std::uint8_t const* data_ = nullptr;
};

using matrix_type = cull::any_matrix<cull::nvfp4_modelopt, cull::bf16_format>;

struct layer_of_glm {
  explicit layer_of_glm(int count) : file(count) {
    std::mt19937 random{5};
    std::normal_distribution<float> normal{0, 0.02f};
    for (std::int64_t i = 0; i < count * hidden; ++i) router.push_back(cull::bf16::encode(normal(random)));
    layer.router = {.scoring = cull::scoring::sigmoid, .top_k = 8};
    layer.router.renormalize = cull::renormalization::on;
    layer.router.scaling = 2.5f;
    layer.router_weight = cull::matrix<cull::bf16_format>{{router.data(), hidden}, count, hidden};
    for (std::int64_t e = 0; e < count; ++e) {
      layer.experts.push_back(
          {file.matrix(3 * e, width, hidden), file.matrix(3 * e + 1, width, hidden), file.matrix(3 * e + 2, hidden, width)});
    }
  }
  expert_file file;
  std::vector<cull::bf16> router;
  cull::moe_layer<matrix_type> layer;
};

/// Experts that the machine's memory holds: all 256, or a part with the same number of tokens for each. CULL_BENCHMARK_EXPERTS
/// names another part, 8 at least.
int experts_here() {
  if (char const* const few = std::getenv("CULL_BENCHMARK_EXPERTS")) return std::clamp(std::atoi(few), 8, 256);
  auto const memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return memory > 16e9 ? 256 : 32;
}

template <class Precision>
void collect(benchmark::State& state) {
  static layer_of_glm const glm{experts_here()};
  auto const experts = static_cast<std::int64_t>(glm.layer.experts.size());
  auto const tokens = state.range(0) * experts / 256;
  cull::on_cpu const exec{static_cast<int>(state.range(1))};
  auto const x = benchmarks::activations(tokens, hidden);
  cull::observation seen{exec, {.layers = {0}, .experts = static_cast<int>(experts)}};
  cull::collector run{exec, cull::model_router(glm.layer), glm.layer, Precision{}};
  auto const each = std::max<std::int64_t>(1, tokens * 8 / experts);
  auto const few = benchmarks::activations(each, hidden);
  std::vector<float> y(few.size());
  std::int64_t next = 0;
  auto const one = [&](std::int64_t e) {
    cull::expert_mlp<Precision>(exec, glm.layer.experts[static_cast<std::size_t>(e)],
                                cull::matrix_view<float const>{few.data(), each, hidden},
                                cull::matrix_view<float>{y.data(), each, hidden}, cull::silu{});
  };
  constexpr int sampled = 4;
  benchmarks::compare(
      state, static_cast<double>(tokens),
      [&] {
        run({.router_input = {x.data(), tokens, hidden}}, seen.at(0));
      },
      static_cast<double>(each * sampled) / 8,
      [&] {
        for (int i = 0; i < sampled; ++i) one(next++ * 37 % experts);
      });
  state.counters["model_tokens_per_second"] = state.counters["rate"] / 75;
}

[[maybe_unused]] bool const registered = [] {
  auto const add = [](char const* name, void (*run)(benchmark::State&)) {
    auto* const added =
        benchmark::RegisterBenchmark(name, run)->ArgNames({"tokens", "threads"})->UseManualTime()->Unit(benchmark::kSecond);
    for (int const tokens : {2048, 16384}) added->Args({tokens, 2});
    added->Iterations(2);
  };
  add("collector/f32", collect<cull::f32_precision>);
  if (cull::best_isa() >= cull::isa::avx512_bf16) add("collector/bf16", collect<cull::bf16_precision>);
  return true;
}();

}  // namespace
