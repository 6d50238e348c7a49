#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From model to pruned model and back to numbers, with a crash on the way.
source "$(dirname "$0")/check.sh" "$@"

head -n 6 "$data/calibration/code.jsonl" >"$work/few.jsonl"
"$cull" calibrate "$model" --data "$work/few.jsonl" --out "$work/obs" --json >"$work/calibrate.json"
# Where the time went adds up to the whole, and the stages that every run has took some.
equals "$(field "$work/calibrate.json" 'sorted(d["stages"])')" "['attention', 'dense_mlp', 'experts', 'other', 'read', 'save']"
equals "$(field "$work/calibrate.json" 'min(d["stages"].values()) > 0, abs(sum(d["stages"].values()) / d["seconds"] - 1) < 1e-9')" "(True, True)"
# Hidden states of 128 f32 a token; MTP, which has a token less of each sequence, has the last layer's normed states beside its own.
equals "$(field "$work/calibrate.json" 'd["memory"]["state_bytes"] == 128 * 4 * (2 * d["tokens"] - d["sequences"]), d["memory"]["mapped_bytes"] > 0')" "(True, True)"
# Scratch holds the outputs of eight experts for each token of a batch.
"$cull" calibrate "$model" --data "$work/few.jsonl" --out "$work/obs" --force --batch-tokens 64 --json >"$work/small.json"
equals "$(field "$work/calibrate.json" 'min(1024, d["tokens"]) * 8 * 128 * 4 < d["memory"]["scratch_bytes"] < d["memory"]["resident_bytes"]')" "True"
equals "$(field "$work/small.json" '64 * 8 * 128 * 4 < d["memory"]["scratch_bytes"]')" "True"
(($(field "$work/small.json" 'd["memory"]["scratch_bytes"]') < $(field "$work/calibrate.json" 'd["memory"]["scratch_bytes"]'))) || die "smaller batches take no less"
"$cull" plan "$model" "$work/obs" --keep 42 --out "$work/plan.json" --json >"$work/plan.out.json"
equals "$(field "$work/plan.json" '[len(d["layers"][k]) for k in sorted(d["layers"])]')" "[42, 42, 42, 42, 42]"
predicted=$(field "$work/plan.out.json" 'd["bytes_after"]')

# A limit on file sizes ends the first attempt in the middle of a shard.
if (ulimit -f 1200; "$cull" apply "$model" "$work/plan.json" --out "$work/pruned") >/dev/null 2>&1; then die "the limit did not stop apply"; fi
absent "$work/pruned"
[[ -d $work/pruned.partial ]] || die "nothing to go on from"
expect 0 "wrote 9 files" "$cull" apply "$model" "$work/plan.json" --out "$work/pruned"
absent "$work/pruned.partial"
expect 1 "exists" "$cull" apply "$model" "$work/plan.json" --out "$work/pruned"
"$cull" apply "$model" "$work/plan.json" --out "$work/again" >/dev/null
same_tree "$work/pruned" "$work/again"
equals "$(field "$work/pruned/model.safetensors.index.json" 'd["metadata"]["total_size"]')" "$predicted"

expect 0 "verified: 2520 expert tensors" "$cull" verify "$model" "$work/plan.json" "$work/pruned"
printf X | dd of="$work/again/model-00002-of-00003.safetensors" bs=1 seek=900000 conv=notrunc status=none
expect 1 "do not use this checkpoint" "$cull" verify "$model" "$work/plan.json" "$work/again"
if "$cull" verify "$model" "$work/plan.json" "$work/again" --json >"$work/verify.json" 2>/dev/null; then die "exit status 0"; fi
equals "$(field "$work/verify.json" 'd["verified"], len(d["failures"])')" "(False, 2)"

for mtp in drop copy:4; do
  "$cull" plan "$model" "$work/obs" --keep 48 --mtp $mtp --out "$work/$mtp.json" >/dev/null
  "$cull" apply "$model" "$work/$mtp.json" --out "$work/$mtp" >/dev/null
  expect 0 "verified" "$cull" verify "$model" "$work/$mtp.json" "$work/$mtp"
done
equals "$("$cull" inspect "$work/drop" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["mtp_layers"])')" "[]"

head -n 2 "$data/eval/heldout.jsonl" >"$work/held.jsonl"
head -n 3 "$data/eval/prompts.jsonl" >"$work/prompts.jsonl"
"$cull" eval full="$model" pruned="$work/pruned" nomtp="$work/drop" --data "$work/held.jsonl" --json >"$work/eval.json"
equals "$(field "$work/eval.json" 'list(d), d["nomtp"]["mtp_agreement"], d["full"]["terminated"]')" "(['full', 'pruned', 'nomtp'], None, None)"
"$cull" eval "$model" --data "$work/held.jsonl" --logits "$work/logits.safetensors" >/dev/null
expect 2 "one model" "$cull" eval "$model" "$work/pruned" --data "$work/held.jsonl" --logits "$work/l2"

"$cull" generate "$model" --prompts "$work/prompts.jsonl" --temperature 0.6 --top-p 0.95 --seed 3 --out "$work/traces.jsonl" >/dev/null
"$cull" generate "$model" --prompts "$work/prompts.jsonl" --temperature 0.6 --top-p 0.95 --seed 3 --threads 1 --out "$work/traces2.jsonl" >/dev/null
same_file "$work/traces.jsonl" "$work/traces2.jsonl"
"$cull" calibrate "$model" --data "$work/traces.jsonl" --emphasize 262:16:6 --out "$work/own.obs" >/dev/null
"$cull" generate "$model" --prompts "$work/prompts.jsonl" --max-tokens 2 --terminating-only --out "$work/none.jsonl" >/dev/null
equals "$(wc -c <"$work/none.jsonl")" 0

# Ctrl-C: nothing half-written.
"$cull" calibrate "$model" --data "$data/calibration/term.jsonl" --out "$work/stopped.obs" --threads 1 2>"$work/stopped.log" &
sleep 1
kill -INT $!
status=0
wait $! || status=$?
equals "$status $(grep -c 'stopped on request' "$work/stopped.log")" "1 1"
absent "$work/stopped.obs"
finish
