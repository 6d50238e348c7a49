#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
way=$1 source=$2 work=$3 compiler=$4 cmake=$5 build=$6
rm -rf "$work" && mkdir -p "$work"
arguments=(-DWAY="$way" -DCULL_SOURCE="$source" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0)
if [[ $way == find_package ]]; then
  "$cmake" --install "$build" --prefix "$work/prefix" >"$work/install.log"
  arguments+=(-DCMAKE_PREFIX_PATH="$work/prefix")
fi
"$cmake" -S "$source/tests/consumer/project" -B "$work/build" "${arguments[@]}" >"$work/configure.log"
"$cmake" --build "$work/build" >"$work/build.log" || { cat "$work/build.log"; exit 1; }
"$work/build/consumer" "$source/tests/data/tiny-glm/model"
