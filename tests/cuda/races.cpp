// SPDX-License-Identifier: Apache-2.0
// For the thread sanitizer, which sees every access that a body makes, not only those through its context: `races OPERATION
// CONTEXT` runs one operation of the library on one context, right or with a mistake.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#include "mutants.hpp"

namespace {

int run(char** argv) {
  using namespace mutants;
  auto const find = [](char const* name, auto const&... entries) {
    int found = 2;
    ((std::strcmp(name, entries.first) == 0 ? found = entries.second() : 0), ...);
    return found;
  };
  auto what = mistake::none;
  auto const known = find(argv[2], std::pair{"right", [] { return 0; }},
                          std::pair{"without_barriers", [&] { return what = mistake::no_barrier, 0; }},
                          std::pair{"without_second_barrier", [&] { return what = mistake::no_second_barrier, 0; }},
                          std::pair{"without_warp_barriers", [&] { return what = mistake::no_warp_barrier, 0; }},
                          std::pair{"plain_atomics", [&] { return what = mistake::plain_atomics, 0; }});
  if (known != 0) return known;
  on_mutant const exec{on_simt{{.seed = 1}}, what};
  auto const of = [&](char const* name, auto operation) {
    return std::pair{name, [&exec, operation] { return operation(exec), 0; }};
  };
  return find(argv[1], of("dequantize", dequantize{}), of("dequantize_groups", dequantize_groups{}), of("quantize", quantize{}),
              of("relayout", relayout{}), of("relayout_back", relayout_back{}), of("route", route{}), of("add", add{}),
              of("select", select_kept{}), of("group_pairs", group_pairs{}), of("gate_up", gate_up{}), of("down", down{}),
              of("norms", norms{}), of("matmul", matmul{}), of("combine", combine{}), of("merge", merge{}));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    return run(argv);
  } catch (simt_test::fault const& found) {  // by the executor; the sanitizer has had its say
    std::printf("%s\n", found.what());
    return 1;
  }
}
