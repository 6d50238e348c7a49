#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The page of `cull report`: well-formed, alone, small, and its numbers are the inputs'.
source "$(dirname "$0")/check.sh" "$@"
here=$(dirname "$0")
page() { python3 "$here/check_report.py" "$@" || die "see above"; passed; }

# As large as the large models: 75 layers of 256.
python3 "$here/synthetic_observation.py" 75 256 "$work/large.safetensors" "$work/large.json"
"$cull" report "$work/large.safetensors" --keep 168 --out "$work/large.html" >/dev/null
page "$work/large.html" --figures "$work/large.json" 168
"$cull" report "$work/large.safetensors" --out "$work/no-cut.html" >/dev/null
page "$work/no-cut.html"

# The shipped model, with everything there is.
head -n 8 "$data/calibration/code.jsonl" >"$work/code.jsonl"
head -n 8 "$data/calibration/traces.jsonl" >"$work/traces.jsonl"
head -n 2 "$data/eval/heldout.jsonl" >"$work/held.jsonl"
for set in code traces; do "$cull" calibrate "$model" --data "$work/$set.jsonl" --out "$work/$set.obs.safetensors" >/dev/null; done
for criterion in reap frequency; do
  "$cull" plan "$model" "$work/code.obs.safetensors" --keep 42 --criterion $criterion --out "$work/$criterion.plan.json" --json >"$work/$criterion.json"
done
"$cull" apply "$model" "$work/reap.plan.json" --out "$work/pruned" >/dev/null
"$cull" verify "$model" "$work/reap.plan.json" "$work/pruned" --json >"$work/verify.json"
"$cull" inspect "$model" --json >"$work/inspect.json"
"$cull" eval full="$model" 'a <b> & "c"'="$work/pruned" --data "$work/held.jsonl" --json >"$work/eval.json"
inputs=("$work/code.obs.safetensors" "$work/traces.obs.safetensors" "$work/reap.plan.json" "$work/frequency.plan.json" "$work/eval.json" "$work/verify.json")
"$cull" report "${inputs[@]}" --model "$model" --out "$work/tiny.html" >/dev/null
page "$work/tiny.html" --eval "$work/eval.json" --inspect "$work/inspect.json" "$work/reap.json" --plans "$work/reap.plan.json" "$work/frequency.plan.json"
grep -qF 'id="calibrations-matrix"' "$work/tiny.html" || die "calibrations are not compared"
grep -qF 'every tensor is the source' "$work/tiny.html" || die "the proof is not shown"
expect 1 "exists" "$cull" report "${inputs[@]}" --out "$work/tiny.html"
"$cull" report "${inputs[@]}" --model "$model" --out "$work/tiny.html" --force >/dev/null
cp "$work/tiny.html" "$work/first.html"
"$cull" report "${inputs[@]}" --model "$model" --out "$work/tiny.html" --force >/dev/null
same_file "$work/first.html" "$work/tiny.html"

# What does not belong together, or is something else.
expect 1 "another model" "$cull" report "$work/code.obs.safetensors" --model "$data/../families/qwen3_moe/model" --out "$work/x.html"
expect 1 "is no plan" "$cull" report "$work/inspect.json" --out "$work/x.html"
expect 1 "cannot be read" "$cull" report "$work/nothing" --out "$work/x.html"
expect 2 "FILE" "$cull" report --out "$work/x.html"
absent "$work/x.html"
finish
