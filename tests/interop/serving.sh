#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prunes the shipped model, adds the kit, and asks vLLM's own code: does its parser take every option of the compose file, does its loader know
# every tensor. Installs vllm (9 GB, CUDA build; no GPU is needed) into build/interop-vllm; therefore not part of tests/run.sh.
# usage: tests/interop/serving.sh [CULL_BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."
cull=$(realpath "${1:-build/gcc/examples/cull}")
venv=${CULL_VLLM_VENV:-build/interop-vllm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ ! -x $venv/bin/python ]]; then python3 -m venv "$venv"; fi
"$venv/bin/python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("vllm") is None)' ||
  "$venv/bin/pip" install --quiet --disable-pip-version-check vllm
data=tests/data/tiny-glm
"$cull" calibrate $data/model --data $data/calibration/term.jsonl --out "$work/term.safetensors" >/dev/null
"$cull" plan $data/model "$work/term.safetensors" --keep 42 --out "$work/plan.json" >/dev/null
"$cull" apply $data/model "$work/plan.json" --out "$work/pruned" --kit --with "$work/term.safetensors" >/dev/null
"$venv/bin/python" tests/interop/serving_options.py "$work/pruned/docker-compose.yml" --vllm
if docker compose version >/dev/null 2>&1; then docker compose -f "$work/pruned/docker-compose.yml" config --quiet && echo "docker compose takes the file"; fi
"$venv/bin/python" tests/interop/loader_with_vllm.py "$work/pruned"
# The question can be answered with no: a config that says one expert fewer than there are.
cp -r "$work/pruned" "$work/fewer"
sed -i -E 's/"(n_routed_experts|num_experts)": 42/"\1": 41/' "$work/fewer/config.json"
if "$venv/bin/python" tests/interop/loader_with_vllm.py "$work/fewer" >"$work/fewer.log" 2>&1; then
  echo "FAILED: vLLM's loader found a tensor that it cannot know" >&2
  exit 1
fi
grep -q 'not loaded: model.layers.1.mlp.experts.41.' "$work/fewer.log"
