#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds cull, and prunes the shipped model end to end: inspect, calibrate, plan, apply, verify, evaluate.
# usage: examples/run.sh [OUTPUT_DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")/.."
source cmake/packages.sh
need_packages cmake ninja-build g++ nlohmann-json3-dev libeigen3-dev libcli11-dev libxxhash-dev libssl-dev

step() { printf '\n== %s\n' "$1"; }
model=tests/data/tiny-glm/model
data=tests/data/tiny-glm
out=${1:-out}
keep=42 # of 64, the ratio of 168 of 256

step "build"
cmake -S . -B build/run -G Ninja -DCMAKE_BUILD_TYPE=Release -DCULL_BUILD_TESTS=OFF
cmake --build build/run --target cull_cli
cull=build/run/examples/cull

rm -rf "$out" && mkdir -p "$out"
step "inspect"
$cull inspect $model
step "calibrate: code and tool use, and terminating traces with the tokens around </think> counted six times"
$cull calibrate $model --data $data/calibration/code.jsonl --data $data/calibration/traces.jsonl --emphasize 262:16:6 \
  --out "$out/term.obs.safetensors"
step "plan: keep the best $keep of 64 experts in every layer"
for criterion in reap frequency random; do
  $cull plan $model "$out/term.obs.safetensors" --keep $keep --criterion $criterion --seed 1 --out "$out/$criterion.plan.json" >"$out/$criterion.plan.txt"
done
cat "$out/reap.plan.txt"
step "apply"
for criterion in reap frequency random; do $cull apply $model "$out/$criterion.plan.json" --out "$out/$criterion"; done
step "verify"
proof=$($cull verify $model "$out/reap.plan.json" "$out/reap" --json-out "$out/verify.json")
echo "$proof"
step "evaluate on held-out texts and prompts"
{
  size() { cat "$1"/*.safetensors | wc -c; }
  echo "experts per layer: 64 -> $keep; bytes of weights: $(size $model) -> $(size "$out/reap")"
  echo
  $cull eval full=$model reap="$out/reap" frequency="$out/frequency" random="$out/random" \
    --data $data/eval/heldout.jsonl --prompts $data/eval/prompts.jsonl --json-out "$out/eval.json"
  echo
  echo "$proof"
} | tee "$out/report.txt"
step "report, and what goes with the model"
$cull report "$out/term.obs.safetensors" "$out/reap.plan.json" "$out/frequency.plan.json" "$out/eval.json" "$out/verify.json" --model $model \
  --title "tiny GLM, 64 to $keep experts" --out "$out/report.html"
$cull kit $model "$out/reap.plan.json" "$out/reap" --with "$out/term.obs.safetensors" --with "$out/eval.json"
$cull verify $model "$out/reap.plan.json" "$out/reap" >/dev/null
echo
echo "report: $out/report.html, $out/report.txt; pruned model: $out/reap"
