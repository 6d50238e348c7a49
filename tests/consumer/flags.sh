#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same program at other people's flags prints the same bits: routing, experts, saliency, selection.
set -euo pipefail
source=$1 work=$2 compiler=$3
mkdir -p "$work"
reference=
while read -r flags; do
  # shellcheck disable=SC2086
  "$compiler" -std=c++20 $flags -I"$source/include" "$source/tests/consumer/bits.cpp" -pthread -o "$work/bits"
  bits=$("$work/bits")
  printf '%-38s %s\n' "$flags" "$bits"
  [[ -n $bits ]] || exit 1
  reference=${reference:-$bits}
  [[ $bits == "$reference" ]] || { echo "flags changed the bits"; exit 1; }
done <<'FLAGS'
-O0
-O3
-O3 -march=native -ffp-contract=off
-O3 -march=native -ffp-contract=fast
FLAGS
