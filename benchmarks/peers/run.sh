#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times the way of today's packages (modelopt, torch) beside cull's collector. Optional: some gigabytes of packages go into a virtual
# environment of its own, build/peers. usage: benchmarks/peers/run.sh [options of dequantize_per_expert.py]
set -euo pipefail
cd "$(dirname "$0")/../.."
source cmake/packages.sh
need_packages python3-venv
if [[ ! -e build/peers/ready ]]; then
  python3 -m venv build/peers
  # modelopt imports the last two and does not ask for them.
  build/peers/bin/pip install --quiet torch==2.15.0 nvidia-modelopt==0.47.0 requests huggingface_hub
  touch build/peers/ready
fi
[[ -e out/benchmarks.json ]] && grep -q '"collector' out/benchmarks.json || benchmarks/run.sh collector
build/peers/bin/python benchmarks/peers/dequantize_per_expert.py --collector out/benchmarks.json "$@"
