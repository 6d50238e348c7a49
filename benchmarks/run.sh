#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, runs the benchmarks and prints how near each comes to its ceiling.
# usage: benchmarks/run.sh [FILTER]    the JSON of the run stays in out/benchmarks.json; PEERS=ON compares with other libraries too
set -euo pipefail
cd "$(dirname "$0")/.."
source cmake/packages.sh
need_packages cmake ninja-build g++ libeigen3-dev libbenchmark-dev python3
[[ ${PEERS:-OFF} == OFF ]] || need_packages libopenblas-dev libdnnl-dev

cmake -S . -B build/benchmarks -G Ninja -DCMAKE_BUILD_TYPE=Release -DCULL_BUILD_TESTS=OFF -DCULL_BUILD_EXAMPLES=OFF -DCULL_CHECKPOINT=OFF \
  -DCULL_BUILD_BENCHMARKS=ON -DCULL_BENCHMARK_PEERS="${PEERS:-OFF}"
cmake --build build/benchmarks
mkdir -p out
build/benchmarks/benchmarks/cull_benchmarks --benchmark_filter="${1:-.}" --benchmark_min_time=1 \
  --benchmark_out=out/benchmarks.json --benchmark_out_format=json >/dev/null
[[ -s out/benchmarks.json ]] || { echo "no benchmark has a name that matches '${1:-.}'; all names: build/benchmarks/benchmarks/cull_benchmarks --benchmark_list_tests" >&2; exit 1; }
python3 - out/benchmarks.json <<'PY'
import json, sys
run = json.load(open(sys.argv[1]))
print(f"{'':66}{'a second':>12}{'ceiling':>12}{'ratio':>8}")
for b in run["benchmarks"]:
    name = b["name"].removesuffix("/manual_time")
    print(f"{name:66}{b['rate']:12.4g}{b['ceiling']:12.4g}{b['ratio']:8.2f}")
PY
echo "dequantize, quantize and packed_bytes count bytes, matmul, expert_mlp and peer floating-point operations, the others tokens; see docs/performance.md"
