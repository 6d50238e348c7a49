#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Python's safetensors package reads every kind of file that cull writes, and finds in it what cull's source held.
set -euo pipefail
cd "$(dirname "$0")/../.."
cull=$(realpath "${1:?usage: safetensors.sh CULL_BINARY}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ ! -x build/interop-venv/bin/python ]]; then python3 -m venv build/interop-venv; fi
build/interop-venv/bin/python -c 'import safetensors, numpy' 2>/dev/null ||
  build/interop-venv/bin/pip install --quiet --disable-pip-version-check safetensors numpy
model=tests/data/tiny-glm/model
head -n 3 tests/data/tiny-glm/calibration/code.jsonl >"$work/few.jsonl"
"$cull" calibrate "$model" --data "$work/few.jsonl" --out "$work/few.obs.safetensors" >/dev/null
"$cull" plan "$model" "$work/few.obs.safetensors" --keep 42 --out "$work/plan.json" >/dev/null
"$cull" apply "$model" "$work/plan.json" --out "$work/pruned" >/dev/null
build/interop-venv/bin/python tests/interop/read_with_safetensors.py "$model" "$work/plan.json" "$work/pruned" "$work/few.obs.safetensors"
