#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A second compiler's opinion of every kernel: clang 19, syntax only, for the architectures that it knows.
# usage: clang.sh SOURCE_DIR WORK TOOLKIT_ROOT
set -euo pipefail
source=$1 work=$2 toolkit=$3
command -v clang++-19 >/dev/null || {
  echo "clang++-19 is not installed"
  [[ ${CI:-} == true ]] && exit 1
  exit 77
}
# CUDA 13 has dropped a header that clang's wrapper includes.
mkdir -p "$work/stub" && : >"$work/stub/texture_fetch_functions.h"
for file in "$source"/tests/cuda/kernels_*.cu; do
  for architecture in sm_80 sm_90a; do
    echo "$(basename "$file") $architecture"
    clang++-19 -x cuda --cuda-device-only -std=c++20 --cuda-path="$toolkit" --cuda-gpu-arch=$architecture -Wno-unknown-cuda-version -isystem "$work/stub" \
      -Wall -Wextra -Werror -Wno-unknown-pragmas -I"$source/include" -fsyntax-only "$file"
  done
done
