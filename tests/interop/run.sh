#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Loads the pruned checkpoint's weights, dequantised by torch arithmetic of its own, into transformers' GLM and compares logits with
# cull's engine. Installs torch and transformers (gigabytes) into build/interop-full; therefore not part of tests/run.sh.
# usage: tests/interop/run.sh [CULL_BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."
cull=$(realpath "${1:-build/gcc/examples/cull}")
venv=${CULL_INTEROP_VENV:-build/interop-full}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ ! -x $venv/bin/python ]]; then python3 -m venv "$venv"; fi
"$venv/bin/python" -c 'import torch, transformers, safetensors' 2>/dev/null ||
  "$venv/bin/pip" install --quiet --disable-pip-version-check torch transformers safetensors numpy
data=tests/data/tiny-glm
"$cull" calibrate $data/model --data $data/calibration/term.jsonl --out "$work/term.safetensors" >/dev/null
"$cull" plan $data/model "$work/term.safetensors" --keep 42 --out "$work/plan.json" >/dev/null
"$cull" apply $data/model "$work/plan.json" --out "$work/pruned" >/dev/null
head -n 12 $data/eval/heldout.jsonl >"$work/few.jsonl"
for model in $data/model "$work/pruned"; do
  "$cull" eval "$model" --data "$work/few.jsonl" --logits "$work/logits-$(basename "$model").safetensors" >/dev/null
  "$venv/bin/python" tests/interop/logits_with_transformers.py "$model" "$work/few.jsonl" "$work/logits-$(basename "$model").safetensors"
done
