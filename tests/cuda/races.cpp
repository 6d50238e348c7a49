// SPDX-License-Identifier: Apache-2.0
// For the thread sanitizer, which sees every access that a body makes, not only those through its context: `races OPERATION
// CONTEXT` runs one operation of the library on one context, right or with a mistake.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "mutants.hpp"

namespace {

template <class Context>
int run_on(char const* operation) {
  mutants::on_mutant<Context> const exec{mutants::on_simt{{.seed = 1}}};
  auto const is = [&](char const* name) { return std::strcmp(operation, name) == 0; };
  if (is("dequantize")) return mutants::dequantize{}(exec), 0;
  if (is("dequantize_groups")) return mutants::dequantize_groups{}(exec), 0;
  if (is("quantize")) return mutants::quantize{}(exec), 0;
  if (is("relayout")) return mutants::relayout{}(exec), 0;
  if (is("relayout_back")) return mutants::relayout_back{}(exec), 0;
  if (is("route")) return mutants::route{}(exec), 0;
  if (is("add")) return mutants::add{}(exec), 0;
  if (is("select")) return mutants::select_kept{}(exec), 0;
  return 2;
}

int run(char** argv) {
  auto const is = [&](char const* name) { return std::strcmp(argv[2], name) == 0; };
  if (is("right")) return run_on<mutants::as_it_is>(argv[1]);
  if (is("without_barriers")) return run_on<mutants::without_barriers>(argv[1]);
  if (is("without_warp_barriers")) return run_on<mutants::without_warp_barriers>(argv[1]);
  if (is("plain_atomics")) return run_on<mutants::with_plain_atomics>(argv[1]);
  return 2;
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
