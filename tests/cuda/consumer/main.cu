// SPDX-License-Identifier: Apache-2.0
#define PART main_part
#include "part.cuh"

#include <cstdio>

int other_part();
int engine_part();

int main() {
  int const results[] = {main_part(), other_part(), engine_part()};
  for (int const r : results) {
    if (r == 77) std::puts("linked; no device to run on");
    if (r != 0 && r != 77) return r;
  }
}
