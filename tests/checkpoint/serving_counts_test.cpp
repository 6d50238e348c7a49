// SPDX-License-Identifier: Apache-2.0
// What serving engines demand, in numbers of experts: each row from a good checkpoint, and from one that is broken in that
// respect and no other.
#include "serving_cases.hpp"

namespace serving_test {

TEST_CASE("serving: the shipped model meets every demand") {
  auto const checks = served{model_dir()}.checks();
  CHECK(checks.size() == 18);
  for (auto const& c : checks) {
    CAPTURE(c.demand);
    CAPTURE(c.found);
    CHECK(c.verdict == good);
  }
  CHECK(row(checks, "split evenly").found == "over 2, 4, 8, 16 ranks");
  CHECK(row(checks, "multiples of 16").found == "on 1, 2, 4 rank(s)");
  CHECK(mentions(row(checks, "width").found, "width 64: whole groups on 1, 2, 4 rank(s), multiples of 64 on 1"));
}

TEST_CASE("serving: numbers of experts") {
  served const it{model_dir()};
  std::string const layers = "one number of experts", mtp = "MTP layers", choice = "router's choice", kernels = "kernels take",
                    bias = "correction bias", complete = "all its tensors";
  auto const copy_expert = [](served& m, int to) {
    m.tensors[expert(2, to) + "up_proj.weight"] = m.at(expert(2, 0) + "up_proj.weight");
  };
  check_cases(it,
              {{layers, bad, "layer 2 has 65", [&](auto& m) { copy_expert(m, 64); }, {complete}},
               {layers, bad, "layer 3 has 63", [](auto& m) { CHECK(m.erase(expert(3, 63)) == 12); }, {complete}},
               {layers,
                bad,
                "layer 2 has 64",
                [&](auto& m) {
                  copy_expert(m, 64);
                  m.erase(expert(2, 5));
                },
                {complete}},
               {mtp, note, "1 MTP layer(s), config.json says 2", [](auto& m) { m.config["num_nextn_predict_layers"] = 2; }},
               {mtp, note, "0 MTP layer(s), config.json says 1", [](auto& m) { m.erase("model.layers.5."); }},
               {choice, good, "top 63 of 64 in 1 group(s), of which 1", [](auto& m) { m.config["num_experts_per_tok"] = 63; }},
               {choice, note, "top 64 of 64", [](auto& m) { m.config["num_experts_per_tok"] = 64; }, {kernels}},
               {choice, good, "top 8 of 64 in 4 group(s), of which 1", [](auto& m) { m.config["n_group"] = 4; }},
               {choice, note, "top 16 of 64 in 4 group(s), of which 1",
                [](auto& m) {
                  m.config["n_group"] = 4;
                  m.config["num_experts_per_tok"] = 16;
                }},
               {choice, bad, "top 17 of 64 in 4 group(s), of which 1",
                [](auto& m) {
                  m.config["n_group"] = 4;
                  m.config["num_experts_per_tok"] = 17;
                }},
               {choice, bad, "top 1 of 64 in 64 group(s), of which 64",
                [](auto& m) {
                  m.config["n_group"] = m.config["topk_group"] = 64;
                  m.config["num_experts_per_tok"] = 1;
                }},
               {bias, note, "is BF16",
                [](auto& m) {
                  auto& t = m.at("model.layers.4.mlp.gate.e_score_correction_bias");
                  t.dtype = "BF16";
                  t.bytes.resize(t.bytes.size() / 2);
                }},
               {bias, bad, "model.layers.4.mlp.gate.e_score_correction_bias is missing",
                [](auto& m) { m.tensors.erase("model.layers.4.mlp.gate.e_score_correction_bias"); }}});

  // As pruning leaves them: 42 in each layer, and other numbers in each.
  scratch_folder const folder;
  cull::apply(model(), oracle_plan(), folder / "out");
  auto const pruned = cull::serving_checks(cull::checkpoint::open(folder / "out"));
  CHECK(row(pruned, kernels).verdict == note);  // no multiple of 4
  CHECK(row(pruned, "split evenly").verdict == note);
  CHECK(row(pruned, "split evenly").found == "over 2, 3, 6, 7, 14 ranks");
  CHECK(row(pruned, "multiples of 16").verdict == note);
  CHECK(row(pruned, "multiples of 16").found == "42 on no number of ranks");
  CHECK(row(pruned, layers).verdict == good);

  auto const family = cull::read_family(cull::detail::completed(json{{"like", "glm_moe_dsa"},
                                                                     {"model_type", {"glm_moe_dsa"}},
                                                                     {"keys",
                                                                      {{"layers", {"num_hidden_layers"}},
                                                                       {"mtp", "num_nextn_predict_layers"},
                                                                       {"experts", {"n_routed_experts", "num_experts"}},
                                                                       {"experts_per_layer", "num_routed_experts_per_layer"}}}},
                                                                "family"),
                                        "family");
  auto const source = cull::checkpoint::open(model_dir(), {.family = family});
  auto uneven = oracle_plan();
  uneven.layers[3].pop_back();
  uneven.layers[5].pop_back();
  cull::apply(source, uneven, folder / "uneven");
  auto const found = cull::serving_checks(cull::checkpoint::open(folder / "uneven", {.family = family}));
  CHECK(row(found, layers).verdict == bad);
  CHECK(row(found, layers).found == "41 to 42 in config.json; layer 2 has 42, layer 3 has 41");
  CHECK(row(found, mtp).verdict == bad);
  CHECK(row(found, mtp).found == "layer 5 has 41, layer 1 has 42");
  CHECK(row(found, complete).verdict == good);
}

}  // namespace serving_test
