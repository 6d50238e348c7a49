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
sed -n "1,2p;25p" "$data/eval/heldout.jsonl" >"$work/held.jsonl" # the last one thinks
head -n 2 "$data/eval/prompts.jsonl" >"$work/prompts.jsonl"
for set in code traces; do "$cull" calibrate "$model" --data "$work/$set.jsonl" --out "$work/$set.obs.safetensors" >/dev/null; done
for criterion in reap frequency; do
  "$cull" plan "$model" "$work/code.obs.safetensors" --keep 42 --criterion $criterion --out "$work/$criterion.plan.json" --json >"$work/$criterion.json"
done
"$cull" apply "$model" "$work/reap.plan.json" --out "$work/pruned" >/dev/null
"$cull" verify "$model" "$work/reap.plan.json" "$work/pruned" --json >"$work/verify.json"
"$cull" inspect "$model" --json >"$work/inspect.json"
"$cull" eval full="$model" 'a <b> & "c"'="$work/pruned" --data "$work/held.jsonl" --prompts "$work/prompts.jsonl" --drafts 2 --json >"$work/eval.json"
inputs=("$work/code.obs.safetensors" "$work/traces.obs.safetensors" "$work/reap.plan.json" "$work/frequency.plan.json" "$work/eval.json" "$work/verify.json")
"$cull" report "${inputs[@]}" --model "$model" --out "$work/tiny.html" >/dev/null
page "$work/tiny.html" --eval "$work/eval.json" --inspect "$work/inspect.json" "$work/reap.json" --plans "$work/reap.plan.json" "$work/frequency.plan.json"
grep -qF 'id="calibrations-matrix"' "$work/tiny.html" || die "calibrations are not compared"
grep -qF 'every tensor is the source' "$work/tiny.html" || die "the proof is not shown"
equals "$(grep -oF 'made from observation code' "$work/tiny.html" | wc -l)" 2
"$cull" report "$work/traces.obs.safetensors" "$work/reap.plan.json" --out "$work/foreign.html" >/dev/null
grep -qF 'made from data that no observation on this page has seen' "$work/foreign.html" || die "a foreign plan passes for one's own"
expect 1 "exists" "$cull" report "${inputs[@]}" --out "$work/tiny.html"
"$cull" report "${inputs[@]}" --model "$model" --out "$work/tiny.html" --force >/dev/null
cp "$work/tiny.html" "$work/first.html"
"$cull" report "${inputs[@]}" --model "$model" --out "$work/tiny.html" --force >/dev/null
same_file "$work/first.html" "$work/tiny.html"

# Every criterion, those of whole blocks among them; a protection; and layers that keep different numbers.
"$cull" calibrate "$model" --data "$work/code.jsonl" --leave-one-out --out "$work/blocks.obs.safetensors" >/dev/null
cat >"$work/family.json" <<'JSON'
{"like": "glm_moe_dsa", "model_type": ["glm_moe_dsa"], "keys": {"layers": ["num_hidden_layers"], "mtp": "num_nextn_predict_layers",
 "experts": ["n_routed_experts", "num_experts"], "experts_per_layer": "num_routed_experts_per_layer"}}
JSON
planned_page() { # NAME OPTION...: the page of a plan made with these options
  local name=$1
  shift
  "$cull" plan "$model" "$work/blocks.obs.safetensors" --family "$work/family.json" "$@" --out "$work/page-$name.plan.json" --json >"$work/page-$name.json"
  "$cull" report "$work/blocks.obs.safetensors" "$work/page-$name.plan.json" --model "$model" --family "$work/family.json" --out "$work/page-$name.html" >/dev/null
  page "$work/page-$name.html" --planned "$work/page-$name.json"
}
for criterion in reap frequency weighted_frequency ean_sum ean_mean weighted_ean_sum max_norm easy_ep leave_one_out; do
  planned_page $criterion --criterion $criterion --keep 42
done
grep -qF 'it has no standard error' "$work/page-max_norm.html" || die "a criterion without errors is not named"
grep -qF 'sequences more like these' "$work/page-easy_ep.html" || die "what would settle the cut is not there"
planned_page protected --keep 42 --protect-frequent 30
planned_page uneven --keep 40 --budget non-uniform
equals "$(field "$work/page-uneven.json" 'len({c["keep"] for c in d["cuts"]}) > 1')" "True"
grep -qF 'num_routed_experts_per_layer' "$work/page-uneven.html" || die "nothing says who can load layers of different sizes"

# Without the observation: what the plan itself noted. Without what its criterion sums: REAP instead, and the page says so.
"$cull" report "$work/page-uneven.plan.json" --model "$model" --family "$work/family.json" --out "$work/plan-only.html" >/dev/null
page "$work/plan-only.html"
"$cull" report "$work/code.obs.safetensors" "$work/page-leave_one_out.plan.json" --out "$work/other.html" >/dev/null
grep -qF 'the plan was made by leave_one_out' "$work/other.html" || die "another criterion than the plan's is not named"
expect 1 "calibrate with what it needs" "$cull" report "$work/code.obs.safetensors" --criterion leave_one_out --keep 42 --out "$work/x.html"

# What does not belong together, or is something else.
expect 1 "another model" "$cull" report "$work/code.obs.safetensors" --model "$data/../families/qwen3_moe/model" --out "$work/x.html"
expect 1 "is no plan" "$cull" report "$work/inspect.json" --out "$work/x.html"
expect 1 "cannot be read" "$cull" report "$work/nothing" --out "$work/x.html"
expect 2 "FILE" "$cull" report --out "$work/x.html"
absent "$work/x.html"
finish
