// SPDX-License-Identifier: Apache-2.0
// A family in JSON and a format in forty lines, both outside the library: opened, observed, planned, pruned, verified.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <cull/checkpoint.hpp>
#include <cull/cpu.hpp>
#include <cull/saliency.hpp>

#include "expert/matrices.hpp"
#include "scratch.hpp"

// --- What the user writes: a format ...
struct int8_rows {
  struct parts {
    std::int8_t const* values;  // [rows, cols]
    float const* scales;        // [rows]
    std::int64_t cols;
  };
  static constexpr std::int64_t group = 8;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    for (std::int64_t i = 0; i < group; ++i) out[i] = static_cast<float>(p.values[row * p.cols + g * group + i]) * p.scales[row];
  }
  static float outer_scale(parts const&) noexcept { return 1; }
};

template <>
struct cull::stored<int8_rows> {
  static std::optional<cull::matrix<int8_rows>> read(cull::matrix_site const& at) {
    auto const values = at.find(".weight");
    auto const scales = at.find(".row_scale");
    if (!values || !scales || values->info->type != cull::dtype::i8) return std::nullopt;
    auto const shape = at.shape(*values);
    if (shape.size() != 2 || scales->info->elements() != shape[0] || shape[1] % 8 != 0)
      values->refuse("int8 needs a scale per row");
    auto const cols = static_cast<std::int64_t>(shape[1]);
    return cull::matrix<int8_rows>{
        {reinterpret_cast<std::int8_t const*>(values->bytes.data()), reinterpret_cast<float const*>(scales->bytes.data()), cols},
        static_cast<std::int64_t>(shape[0]),
        cols};
  }
};
using my_matrix = cull::any_matrix<int8_rows, cull::bf16_format, cull::f32_format>;

// ... and a family.
static char const my_family[] = R"json({
  "model_type": ["switchboard"],
  "layers": ["decoder.blocks.{}."],
  "keys": {"layers": ["depth"], "mtp": "", "experts": ["pool_size"]},
  "router": {"weight": "switch.router.weight"},
  "experts": {"prefix": "switch.pool.{}.", "gate": "w_gate", "up": "w_in", "down": "w_out"},
  "routing": {"scoring": "softmax", "top_k": {"key": "fan_out"}, "renormalize": true}
})json";

namespace {

using namespace checkpoint_test;

constexpr std::int64_t hidden = 32, width = 16;
constexpr int experts = 6, layers = 2;

struct int8_matrix {
  std::int64_t rows, cols;
  std::vector<std::int8_t> values;
  std::vector<float> scales;
  double at(std::int64_t r, std::int64_t c) const {
    return static_cast<double>(values[static_cast<std::size_t>(r * cols + c)]) *
           static_cast<double>(scales[static_cast<std::size_t>(r)]);
  }
};

int8_matrix random_matrix(expert_test::source& random, std::int64_t rows, std::int64_t cols) {
  int8_matrix out{rows, cols, {}, {}};
  for (std::int64_t i = 0; i < rows * cols; ++i) out.values.push_back(static_cast<std::int8_t>(random.uniform(-100, 100)));
  out.scales = random.values(rows, 0.001f, 0.003f);
  return out;
}

/// A model of a family and in a format that the library has never heard of.
struct switchboard {
  explicit switchboard(fs::path const& dir) {
    fs::create_directory(dir);
    expert_test::source random{7};
    std::vector<cull::tensor_source> tensors;
    auto const add = [&](std::string const& name, cull::dtype type, std::vector<std::uint64_t> shape, auto const& values) {
      tensors.push_back({name, type, std::move(shape), std::as_bytes(std::span{values})});
    };
    embedding = random.values(hidden * 4, -1, 1);
    add("embedding.weight", cull::dtype::f32, {4, hidden}, embedding);
    for (int l = 0; l < layers; ++l) routers.push_back(random.values(experts * hidden, -1, 1));
    for (int i = 0; i < layers * experts; ++i) {
      for (int part = 0; part < 3; ++part)
        matrices.push_back(random_matrix(random, part == 2 ? hidden : width, part == 2 ? width : hidden));
    }
    for (int l = 0; l < layers; ++l) {
      auto const prefix = "decoder.blocks." + std::to_string(l) + ".switch.";
      add(prefix + "router.weight", cull::dtype::f32, {experts, hidden}, routers[static_cast<std::size_t>(l)]);
      for (int e = 0; e < experts; ++e) {
        for (int part = 0; part < 3; ++part) {
          auto const& m = matrix(l, e, part);
          auto const stem = prefix + "pool." + std::to_string(e) + (part == 0 ? ".w_gate" : part == 1 ? ".w_in" : ".w_out");
          add(stem + ".weight", cull::dtype::i8, {static_cast<std::uint64_t>(m.rows), static_cast<std::uint64_t>(m.cols)},
              m.values);
          add(stem + ".row_scale", cull::dtype::f32, {static_cast<std::uint64_t>(m.rows)}, m.scales);
        }
      }
    }
    cull::write_safetensors(dir / "model.safetensors", {{"format", "pt"}}, tensors);
    spill(dir / "config.json", R"({"model_type": "switchboard", "depth": 2, "pool_size": 6, "fan_out": 2, "hidden": 6})");
  }
  int8_matrix const& matrix(int layer, int expert, int part) const {
    return matrices[static_cast<std::size_t>((layer * experts + expert) * 3 + part)];
  }

  std::vector<float> embedding;
  std::vector<std::vector<float>> routers;
  std::vector<int8_matrix> matrices;
};

/// ||down(silu(gate x) * up x)|| in double.
double norm_of(switchboard const& model, int layer, int expert, float const* x) {
  auto const dot = [&](int8_matrix const& m, std::int64_t r, auto const* v) {
    double sum = 0;
    for (std::int64_t c = 0; c < m.cols; ++c) sum += m.at(r, c) * static_cast<double>(v[c]);
    return sum;
  };
  std::vector<double> inner;
  for (std::int64_t i = 0; i < width; ++i) {
    double const gate = dot(model.matrix(layer, expert, 0), i, x);
    inner.push_back(gate / (1 + std::exp(-gate)) * dot(model.matrix(layer, expert, 1), i, x));
  }
  double squares = 0;
  for (std::int64_t r = 0; r < hidden; ++r) {
    double const value = dot(model.matrix(layer, expert, 2), r, inner.data());
    squares += value * value;
  }
  return std::sqrt(squares);
}

}  // namespace

TEST_CASE("own family and own format: from a directory to a pruned one that verifies") {
  scratch_folder const folder;
  spill(folder / "family.json", my_family);
  switchboard const made{folder / "model"};
  CHECK_THROWS_WITH_AS(cull::checkpoint::open(folder / "model"), doctest::Contains("--family FILE"), cull::error);
  auto const model = cull::checkpoint::open(folder / "model", {.family = cull::load_family(folder / "family.json")});
  CHECK(model.experts() == experts);
  CHECK(model.moe_layers() == std::vector<int>{0, 1});
  CHECK(model.router().top_k == 2);

  auto const x = expert_test::random_tokens(50, hidden, 9);
  cull::default_observation seen{cull::on_cpu{}, {.layers = model.moe_layers(), .experts = experts}};
  for (int const number : model.moe_layers()) {
    auto const layer = model.moe_layer<my_matrix>(number);
    cull::collector collect{cull::on_cpu{2}, cull::model_router{layer}, layer};
    collect({.router_input = x.view()}, seen.at(number));
    double worst = 0;
    for (std::int64_t t = 0; t < 50; ++t) {
      for (std::int64_t i = 0; i < 2; ++i) {
        double const exact = norm_of(made, number, collect.routing().ids(t, i), x.view().row(t).data());
        worst = std::max(worst, std::abs(collect.norms()(t, i) - exact) / exact);
      }
    }
    CHECK(worst < 2e-6);
  }
  auto const plan = cull::plan(model, cull::select(seen, cull::reap, cull::keep{4}));
  cull::apply(model, plan, folder / "pruned");
  CHECK(cull::find_differences(model, plan, folder / "pruned").failures.empty());

  auto const tensors = all_tensors(folder / "pruned");
  auto const before = all_tensors(folder / "model");
  CHECK(tensors.size() == 1 + 2 + 2 * 4 * 6);
  for (int const layer : {0, 1}) {
    auto const prefix = "decoder.blocks." + std::to_string(layer) + ".switch.";
    CHECK(tensors.at(prefix + "router.weight").shape == std::vector<std::int64_t>{4, hidden});
    for (std::size_t e = 0; e < 4; ++e) {
      auto const old = prefix + "pool." + std::to_string(plan.layers.at(layer)[e]) + ".w_out.row_scale";
      CHECK(tensors.at(prefix + "pool." + std::to_string(e) + ".w_out.row_scale").bytes == before.at(old).bytes);
    }
  }
  // `hidden` holds the same number as `pool_size` and is none of the counts.
  CHECK(slurp(folder / "pruned/config.json") ==
        R"({"model_type": "switchboard", "depth": 2, "pool_size": 4, "fan_out": 2, "hidden": 6})");
}

TEST_CASE("family descriptors: what is wrong is named with its file and key") {
  scratch_folder const folder;
  auto const changed = [](auto const& change) {
    auto json = nlohmann::json::parse(my_family);
    change(json);
    return json.dump();
  };
  auto const refusal = [&](std::string const& text) {
    spill(folder / "family.json", text);
    auto const problem = failure_of([&] { cull::load_family(folder / "family.json"); });
    CHECK(mentions(problem.what(), "family.json"));
    return std::string{problem.what()};
  };
  struct example {
    std::string expected;
    std::string text;
  };
  using json = nlohmann::json;
  std::vector<example> const examples{
      {"key 'rooter' is not known; known here are", changed([](json& j) { j["rooter"] = 1; })},
      {"key 'experts.gates' is not known", changed([](json& j) { j["experts"]["gates"] = "x"; })},
      {"key 'routing.scoring.deflt' is not known", changed([](json& j) {
         j["routing"]["scoring"] = {{"key", "a"}, {"deflt", "b"}};
       })},
      {"'model_type' must be a list of strings", changed([](json& j) { j["model_type"] = "switchboard"; })},
      {"'model_type' is missing", changed([](json& j) { j.erase("model_type"); })},
      {"'router.weight' must be a string", changed([](json& j) { j["router"]["weight"] = 3; })},
      {"'router' must be an object", changed([](json& j) { j["router"] = "mlp.gate"; })},
      {"'routing.top_k' must be an integer", changed([](json& j) { j["routing"]["top_k"] = "two"; })},
      {"'routing.renormalize' must be true or false", changed([](json& j) { j["routing"]["renormalize"] = 1; })},
      {"'routing.scaling.key' must be the name", changed([](json& j) {
         j["routing"]["scaling"] = {{"default", 1.5}};
       })},
      {"'layers' must be a prefix with one '{}'", changed([](json& j) { j["layers"] = {"decoder.blocks."}; })},
      {"'layers' must be a prefix with one '{}'", changed([](json& j) { j["layers"] = {"decoder.{}.blocks.{}."}; })},
      {"'experts.prefix' must be a prefix with one '{}'", changed([](json& j) { j["experts"]["prefix"] = "switch.pool.{}"; })},
      {"'experts.up and experts.down' is missing", changed([](json& j) { j["experts"]["up"] = ""; })},
      {"'fused.rows' must be 'halves' or 'interleaved'", changed([](json& j) {
         j["fused"] = {{"rows", "thirds"}};
       })},
      {"correction_axis (0 or 1)", changed([](json& j) { j["router"]["correction_axis"] = 2; })},
      {"'like' names no known family: \"nobody\"", changed([](json& j) { j["like"] = "nobody"; })},
      {"'like' names no known family: 7", changed([](json& j) { j["like"] = 7; })},
  };
  for (auto const& e : examples) {
    auto const text = refusal(e.text);
    auto const& expected = e.expected;
    CAPTURE(expected);
    CHECK_MESSAGE(mentions(text, expected), text);
  }
  CHECK(code_of([&] { cull::load_family(folder / "none.json"); }) == cull::errc::not_found);
  spill(folder / "family.json", "{\"model_type\": [");
  CHECK(code_of([&] { cull::load_family(folder / "family.json"); }) == cull::errc::json_syntax);
  spill(folder / "family.json", "[]");
  CHECK(code_of([&] { cull::load_family(folder / "family.json"); }) == cull::errc::bad_config);
}
