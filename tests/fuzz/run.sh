#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets and runs each from its committed corpus: tests/fuzz/run.sh [SECONDS [AT ONCE [SEED]]]. What a run finds
# worth keeping stays in build/fuzz/corpus; a crash leaves its input in build/fuzz/crashes and fails the script. From an empty
# build/fuzz a seed makes the same run again; 0, the default, is another one each time. 0 seconds: builds only.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-40}
at_once=${2:-2}
seed=${3:-0}
mkdir -p build/fuzz/crashes
cmake -S . -B build/fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=None -DCULL_WARNINGS_AS_ERRORS=ON -DCULL_FUZZ=ON -DCULL_CUDA=OFF \
  -DCULL_PRECOMPILE=OFF -DCULL_BUILD_EXAMPLES=OFF -DCULL_TEST_ROOMS=none >build/fuzz/configure.log || { cat build/fuzz/configure.log; exit 1; }
cmake --build build/fuzz --target cull_fuzzers -j "$at_once"
[[ $seconds -gt 0 ]] || exit 0

fuzz() { # TARGET
  local target=$1 work=build/fuzz/corpus/$1
  # The largest target has so many features that half of its time would go into weighing them.
  local weighing=1
  [[ $target != apply ]] || weighing=0
  mkdir -p "$work"
  "build/fuzz/tests/cull_${target}_fuzz" -entropic=$weighing -seed="$seed" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -dict=tests/fuzz/json.dict -artifact_prefix="build/fuzz/crashes/$target-" "$work" "tests/fuzz/corpus/$target" \
    >"build/fuzz/$target.log" 2>&1 || { echo "FAILED: $target"; tail -40 "build/fuzz/$target.log"; return 1; }
  echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$target.log") executions in $seconds s, no crash"
}
export -f fuzz
export seconds seed
ls tests/fuzz/corpus | xargs -P "$at_once" -I TARGET bash -euo pipefail -c 'fuzz TARGET'
