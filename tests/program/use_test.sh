#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a new user does: asks for help, mistypes, names files that are not there.
source "$(dirname "$0")/check.sh" "$@"

expect 0 "inspect -> calibrate -> plan" "$cull" --help
expect 0 "cull 0.1.0" "$cull" --version
for verb in inspect calibrate merge plan compare apply verify convert eval generate report kit; do expect 0 "Example:" "$cull" $verb --help; done
expect 2 "--help" "$cull"
expect 2 "no verb 'prune'; there are inspect, calibrate," "$cull" prune
expect 2 "MODEL" "$cull" inspect
expect 2 "--frobnicate" "$cull" inspect "$model" --frobnicate
expect 2 "--data or --states" "$cull" calibrate "$model" --out "$work/o"
expect 2 "--out" "$cull" calibrate "$model" --data "$data/calibration/code.jsonl"
expect 2 "--threads" "$cull" calibrate "$model" --data x --out "$work/o" --threads -1
expect 2 "--precision" "$cull" calibrate "$model" --data x --out "$work/o" --precision f8
expect 2 "OBS" "$cull" plan "$model" --keep 42 --out "$work/p.json"
expect 2 "--criterion" "$cull" plan "$model" o --keep 42 --criterion best --out "$work/p.json"
for emphasis in 262 262:16 262:16:x 262:-1:6 262:16:6:1 262:16:-6 a:1:2; do
  expect 2 "262:16:6" "$cull" calibrate "$model" --data x --out "$work/o" --emphasize=$emphasis
done

expect 1 "/nonexistent" "$cull" inspect /nonexistent
expect 1 "give the model's directory" "$cull" inspect "$model/config.json"
expect 1 "config.json" "$cull" inspect "$work"
expect 1 "/nonexistent.jsonl" "$cull" calibrate "$model" --data /nonexistent.jsonl --out "$work/o"
expect 1 "no such directory" "$cull" calibrate "$model" --data "$data/calibration/code.jsonl" --out "$work/no/o"
echo keep >"$work/precious"
echo '{"ids": [1, 2, 999]}' >"$work/bad.jsonl"
expect 1 "line 1" "$cull" calibrate "$model" --data "$work/bad.jsonl" --out "$work/o"
: >"$work/empty.jsonl"
echo '{' >"$work/cut.jsonl"
expect 1 "every line of such a file is one object" "$cull" eval "$model" --data "$work/cut.jsonl"
expect 1 "/nonexistent: there is no such directory" "$cull" eval "$model" other=/nonexistent --data "$data/eval/heldout.jsonl"
expect 1 "precious: exists" "$cull" eval "$model" --data "$data/eval/heldout.jsonl" --logits "$work/precious"
expect 1 "a model is given with --model" "$cull" report "$model" --out "$work/o"
expect 1 "no sequence" "$cull" calibrate "$model" --data "$work/empty.jsonl" --out "$work/o"
expect 1 "is this a safetensors file" "$cull" merge "$model/config.json" --out "$work/o"
expect 1 "observation" "$cull" merge "$model/model-00001-of-00003.safetensors" --out "$work/o"
expect 1 "layers" "$cull" apply "$model" "$model/config.json" --out "$work/out"
expect 1 "too few" "$cull" plan "$model" --criterion random --keep 4 --out "$work/p.json"
expect 1 "cannot keep 65 of 64 experts" "$cull" plan "$model" --criterion random --keep 65 --out "$work/p.json"
expect 1 "MTP policy" "$cull" plan "$model" --criterion random --keep 42 --mtp maybe --out "$work/p.json"
for left in "$work/o" "$work/out" "$work/out.partial" "$work/p.json"; do absent "$left"; done
expect 1 "--force" "$cull" plan "$model" --criterion random --keep 42 --out "$work/precious"
equals "$(cat "$work/precious")" keep

"$cull" inspect /nonexistent --json >"$work/error.json" 2>/dev/null && die "exit status 0"
grep -q /nonexistent <<<"$(field "$work/error.json" 'd["error"]')" || die "no error in the JSON"
"$cull" inspect "$model" --json >"$work/inspect.json"
equals "$(field "$work/inspect.json" 'd["family"], d["experts"], d["moe_layers"], d["mtp_layers"], d["ledger"]["bytes"], d["warnings"]')" \
  "('glm_moe_dsa', 64, [1, 2, 3, 4, 5], [5], 5953920, [])"
# What a strict reader refuses has a name, and is taken where that name is allowed, from reading to the proof of what was written.
mkdir "$work/odd"
cp "$model"/* "$work/odd"
printf xyz >>"$work/odd/model-00001-of-00003.safetensors"
echo secret >"$work/secret"
"$cull" inspect "$work/odd" --json >"$work/error.json" 2>/dev/null && die "exit status 0"
equals "$(field "$work/error.json" 'd["code"], d["byte"], d["file"][-32:]')" \
  "('trailing_data', $(stat -c %s "$model/model-00001-of-00003.safetensors"), 'model-00001-of-00003.safetensors')"
expect 2 "trailing-data" "$cull" inspect "$work/odd" --allow everything
"$cull" plan "$model" --criterion random --keep 42 --out "$work/plan.json" >/dev/null
allowed() { local verb=$1; shift; "$cull" "$verb" "$work/odd" --allow trailing-data "$@" >/dev/null; }
allowed apply "$work/plan.json" --out "$work/out"
allowed verify "$work/plan.json" "$work/out"
expect 0 "layers" "$cull" inspect "$work/out"
ln -s ../secret "$work/odd/notes.txt"
expect 1 "outside-links" "$cull" apply "$work/odd" --allow trailing-data "$work/plan.json" --out "$work/linked"
absent "$work/linked.partial"
allowed apply --allow outside-links "$work/plan.json" --out "$work/linked"
equals "$(cat "$work/linked/notes.txt")" secret
[[ ! -w /dev/full ]] || expect 1 "standard output" bash -c "'$cull' inspect '$model' >/dev/full"
finish
