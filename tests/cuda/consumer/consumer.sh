#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A project with CUDA of its own uses cull: two translation units of a program and a shared library, for different architectures.
set -euo pipefail
way=$1 source=$2 work=$3 compiler=$4 cmake=$5 build=$6
rm -rf "$work" && mkdir -p "$work"
arguments=(-DWAY="$way" -DCULL_SOURCE="$source" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release)
if [[ $way == find_package ]]; then
  "$cmake" --install "$build" --prefix "$work/prefix" >"$work/install.log"
  arguments+=(-DCMAKE_PREFIX_PATH="$work/prefix")
fi
"$cmake" -S "$source/tests/cuda/consumer" -B "$work/build" "${arguments[@]}" >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; exit 1; }
grep -q "architecture 120 has no native e2m1 conversion" "$work/configure.log" || { echo "no warning of plain sm_120"; exit 1; }
"$cmake" --build "$work/build" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
# Kernels of a shared library stay in it.
if nm -DC "$work/build"/*.so | grep -E "cull::.*(kernel|launch_body)"; then echo "the shared library exports cull's kernels"; exit 1; fi
"$work/build/consumer"
