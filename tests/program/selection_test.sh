#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Budgets, protections, several observations, kinds of calibration and what they change, as a user asks for them.
source "$(dirname "$0")/check.sh" "$@"

head -n 6 "$data/calibration/code.jsonl" >"$work/code.jsonl"
head -n 4 "$data/calibration/traces.jsonl" >"$work/traces.jsonl"
calibrate() { "$cull" calibrate "$model" "$@" >/dev/null; }
plan() { "$cull" plan "$model" "$@" --force --out "$work/plan.json" --json >"$work/plan.out.json"; }
kept() { field "$work/plan.json" 'sorted({len(k) for k in d["layers"].values()})'; }
calibrate --data "$work/code.jsonl" --by-domain --leave-one-out --out "$work/code.obs"
calibrate --data "$work/traces.jsonl" --by-domain --leave-one-out --out "$work/traces.obs"

# How many.
plan "$work/code.obs" --keep 48
equals "$(kept)" "[48]"
plan "$work/code.obs" --ratio 0.66
equals "$(kept)" "[42]"
plan "$work/code.obs" --fit-gib 0.0046
equals "$(kept)" "[40]"
predicted=$(field "$work/plan.out.json" 'd["bytes_written"]')
equals "$(field "$work/plan.out.json" 'd["bytes_written"] <= 0.0046 * 2**30')" "True"
"$cull" apply "$model" "$work/plan.json" --out "$work/fitted" >/dev/null
equals "$(find "$work/fitted" -type f -printf '%s\n' | python3 -c 'import sys; print(sum(map(int, sys.stdin)))')" "$predicted"
plan "$work/code.obs" --fit-gib 0.0046 --multiple 1
equals "$(field "$work/plan.json" '40 <= len(d["layers"]["1"]) < 48')" "True"
expect 1 "fits" "$cull" plan "$model" "$work/code.obs" --fit-gib 0.0001 --out "$work/none"
expect 2 "--keep" "$cull" plan "$model" "$work/code.obs" --out "$work/none"
expect 2 "--keep" "$cull" plan "$model" "$work/code.obs" --keep 40 --ratio 0.5 --out "$work/none"
expect 1 "one number for all" "$cull" plan "$model" "$work/code.obs" --keep 40 --budget non-uniform --out "$work/none"
expect 2 "non-uniform" "$cull" plan "$model" "$work/code.obs" --keep 40 --minimum 8 --out "$work/none"
absent "$work/none"

# How sure.
plan "$work/code.obs" --keep 42
equals "$(field "$work/plan.out.json" 'len(d["cuts"]), len(d["cuts"][0]["scores"]), len(d["cuts"][0]["errors"])')" "(5, 64, 64)"
equals "$(field "$work/plan.out.json" 'all(c["unsettled"] and c["sequences_to_settle"] > 0 for c in d["cuts"])')" "True"
equals "$(field "$work/plan.json" 'all(0 < c["mass_dropped"] < c["traffic_dropped"] < 0.5 for c in d["cuts"].values())')" "True"
expect 0 "would settle it" "$cull" plan "$model" "$work/code.obs" --keep 42 --force --out "$work/plan.json"
plan "$work/code.obs" --keep 42 --criterion max_norm
equals "$(field "$work/plan.out.json" 'd["cuts"][0]["errors"], d["cuts"][0]["sequences_to_settle"]')" "(None, None)"

# By what.
for criterion in easy_ep leave_one_out; do plan "$work/code.obs" --keep 42 --criterion $criterion; done
calibrate --data "$work/code.jsonl" --out "$work/plain.obs"
expect 1 "calibrate with what it needs" "$cull" plan "$model" "$work/plain.obs" --keep 42 --criterion leave_one_out --out "$work/none"
plan "$work/plain.obs" --keep 42 --criterion easy_ep
plan "$work/code.obs" --keep 42 --protect-frequent 30
equals "$(field "$work/plan.out.json" 'any(c["rescued"] for c in d["cuts"])')" "True"
expect 1 "protected" "$cull" plan "$model" "$work/code.obs" --keep 20 --protect-frequent 21 --out "$work/none"

# From several.
calibrate --data "$work/traces.jsonl" --by-domain --out "$work/quick.obs"
expect 1 "different settings" "$cull" merge "$work/code.obs" "$work/quick.obs" --out "$work/none"
"$cull" merge "$work/code.obs" "$work/traces.obs" --out "$work/both.obs" >/dev/null
plan "$work/code.obs" "$work/traces.obs" --keep 42
cp "$work/plan.json" "$work/summed.json"
plan "$work/both.obs" --keep 42
same_file "$work/plan.json" "$work/summed.json"
digest() { field "$work/$1" 'd.get("data_digest", "")'; }
equals "$(digest plan.json)" "$(digest plan.out.json)"
plan "$work/code.obs" "$work/traces.obs" --weight 1000 --weight 0.0001 --keep 42 --criterion weighted_ean_sum
"$cull" plan "$model" "$work/code.obs" --keep 42 --criterion weighted_ean_sum --out "$work/code.json" >/dev/null
equals "$(field "$work/plan.json" 'd["layers"]')" "$(field "$work/code.json" 'd["layers"]')"
expect 2 "once per observation" "$cull" plan "$model" "$work/code.obs" --weight 1 --weight 2 --keep 42 --out "$work/none"
plan "$work/both.obs" --keep 48 --protect-domains 16
expect 1 "by domain" "$cull" plan "$model" "$work/plain.obs" --keep 42 --protect-domains 8 --out "$work/none"

# What differs, and whom it serves.
"$cull" plan "$model" "$work/traces.obs" --keep 42 --out "$work/traces.json" >/dev/null
"$cull" plan "$model" "$work/code.obs" --keep 42 --out "$work/code-reap.json" >/dev/null
"$cull" plan "$model" --criterion random --keep 42 --out "$work/random.json" >/dev/null
# Of the data and nothing else: each calibration has a digest of its own, whatever the criterion.
equals "$(digest code.json)" "$(digest code-reap.json)"
equals "$(for p in code-reap traces summed; do digest $p.json; echo; done | grep -cE '^[0-9a-f]{32}$')" "3"
equals "$(for p in code-reap traces summed; do digest $p.json; echo; done | sort -u | grep -c .)" "3"
equals "$(digest random.json)" ""
other="$data/../families/qwen3_moe"
"$cull" plan "$other/model" --criterion random --keep 8 --out "$work/other.json" >/dev/null
expect 1 "another model" "$cull" compare "$work/code-reap.json" "$work/other.json"
expect 1 "another model" "$cull" compare "$work/other.json" "$work/other.json" --observation "$work/code.obs"
expect 1 "on another model" "$cull" plan "$other/model" "$work/code.obs" --keep 8 --out "$work/none"
expect 1 "made for another model" "$cull" apply "$other/model" "$work/code-reap.json" --out "$work/none"
expect 1 "made for another model" "$cull" verify "$other/model" "$work/code-reap.json" "$work/fitted"
"$cull" compare "$work/code-reap.json" "$work/traces.json" --observation "$work/both.obs" --json >"$work/compare.json"
equals "$(field "$work/compare.json" 'len(d["layers"]), all(len(l["both"]) + len(l["only_first"]) == 42 for l in d["layers"])')" "(5, True)"
equals "$(field "$work/compare.json" 'all(abs(sum(s["part"] for s in e["serves"].values()) - 1) < 1e-9 for l in d["layers"] for e in l["only_first"])')" "True"
expect 0 "mean Jaccard 1.000" "$cull" compare "$work/code.json" "$work/code.json"

# One-shot or sequential.
calibrate --data "$work/code.jsonl" --sequential 42 --out "$work/sequential.obs"
calibrate --data "$work/code.jsonl" --sequential 42 --batch-tokens 50 --threads 1 --out "$work/sequential2.obs"
same_file "$work/sequential.obs" "$work/sequential2.obs"
expect 1 "different settings" "$cull" merge "$work/plain.obs" "$work/sequential.obs" --out "$work/none"
plan "$work/sequential.obs" --keep 42
cp "$work/plan.json" "$work/sequential.json"
expect 0 "only the first" "$cull" compare "$work/code-reap.json" "$work/sequential.json"
expect 0 "was taken behind layers pruned" "$cull" plan "$model" "$work/sequential.obs" --keep 40 --force --out "$work/plan.json"

# Token by token.
head -n 3 "$data/eval/heldout.jsonl" >"$work/held.jsonl"
head -n 2 "$data/eval/prompts.jsonl" >"$work/prompts.jsonl"
"$cull" eval full="$model" fitted="$work/fitted" --data "$work/held.jsonl" --prompts "$work/prompts.jsonl" --drafts 2 --json >"$work/eval.json"
equals "$(field "$work/eval.json" 'd["full"]["versus"], d["fitted"]["versus"]["reference"], d["fitted"]["versus"]["kl"] > 0')" "(None, 'full', True)"
equals "$(field "$work/eval.json" 'list(d["full"]["acceptance_length"]), d["full"]["looped"]')" "(['1', '2'], 0.0)"
equals "$(field "$work/eval.json" 'all(i[0] <= d["full"]["nats"][k] <= i[1] for k, i in d["full"]["intervals"]["nats"].items())')" "True"
finish
