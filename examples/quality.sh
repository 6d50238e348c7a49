#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes docs/quality.md from the shipped model: criteria x calibrations x numbers of experts, with intervals.
# usage: examples/quality.sh [--cull PROGRAM] [--out FILE] [--json FILE] [--figures FILE] [--jobs N]
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ " $* " != *" --cull "* ]]; then
  source cmake/packages.sh
  need_packages cmake ninja-build g++ python3 nlohmann-json3-dev libeigen3-dev libcli11-dev libxxhash-dev
  cmake -S . -B build/run -G Ninja -DCMAKE_BUILD_TYPE=Release -DCULL_BUILD_TESTS=OFF >/dev/null
  cmake --build build/run --target cull_cli
  set -- --cull build/run/examples/cull "$@"
fi
exec python3 examples/quality.py "$@"
