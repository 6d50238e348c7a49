#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What goes with a model: it is there, it says what is so, verify takes it and nothing else.
source "$(dirname "$0")/check.sh" "$@"

cp -r "$model" "$work/base"
chmod -R u+w "$work/base"
echo "the base's own card" >"$work/base/README.md"
head -n 4 "$data/calibration/code.jsonl" >"$work/code.jsonl"
head -n 1 "$data/eval/heldout.jsonl" >"$work/held.jsonl"
"$cull" calibrate "$work/base" --data "$work/code.jsonl" --out "$work/code.obs.safetensors" >/dev/null
"$cull" plan "$work/base" "$work/code.obs.safetensors" --keep 40 --out "$work/plan.json" --json >"$work/planned.json"
"$cull" apply "$work/base" "$work/plan.json" --out "$work/plain" >/dev/null
"$cull" apply "$work/base" "$work/plan.json" --out "$work/Model-40" --kit --with "$work/code.obs.safetensors" --json >"$work/applied.json" 2>"$work/notes"
for file in README.md README.base.md docker-compose.yml cull-report.html generation_config.json generation_config.base.json cull-plan.json; do
  [[ -f $work/Model-40/$file ]] || die "$file is not there"
done
grep -q 'generation_config.json: temperature is 1.0 in the base and 0.6 here' "$work/notes" || die "an overwritten value is not named"
expect 0 "verified: 2400 expert tensors" "$cull" verify "$work/base" "$work/plan.json" "$work/Model-40"

# Nothing else has changed.
for file in "$work"/plain/*; do
  name=$(basename "$file")
  case $name in
    README.md | generation_config.json) same_file "$file" "$work/Model-40/${name%.*}.base.${name##*.}" ;;
    cull-manifest.json) ;;
    *) same_file "$file" "$work/Model-40/$name" ;;
  esac
done
equals "$(field "$work/Model-40/generation_config.json" '[d[k] for k in ("temperature","top_p","repetition_penalty","eos_token_id","pad_token_id")]')" \
  "[0.6, 0.95, 1.0, [263, 258, 260], 263]"

# The card's numbers are the files'.
card=$work/Model-40/README.md
for text in "routed experts a layer | 64 | 40" "$(field "$work/planned.json" 'f"{d[\"bytes_after\"]:,} bytes"' 2>/dev/null || true)" "Set by the kit: temperature" "base_model: base"; do
  grep -qF -- "$text" "$card" || die "'$text' is not in the card"
  passed
done
equals "$(grep -c "$(python3 -c "import json; print(f'{json.load(open(\"$work/planned.json\"))[\"bytes_after\"]:,}')") bytes" "$card")" 2
equals "$(grep -c '{{' "$card" "$work/Model-40/docker-compose.yml" | cut -d: -f2 | paste -sd' ')" "0 0"
grep -qF 'FFSSF' "$work/Model-40/docker-compose.yml" || die "the layers that share an indexer are not in the compose file"

# Again, with an evaluation: the card has its numbers, and the same call gives the same bytes.
"$cull" eval full="$work/base" pruned="$work/Model-40" --data "$work/held.jsonl" --json >"$work/eval.json"
again() { "$cull" kit "$work/base" "$work/plan.json" "$work/Model-40" --with "$work/code.obs.safetensors" --with "$work/eval.json" >/dev/null 2>&1; }
again
grep -qF "| nats per token, $(field "$work/eval.json" 'list(d["full"]["nats"])[0]') | $(field "$work/eval.json" '"%.4f" % list(d["full"]["nats"].values())[0]')" "$card" || die "no quality"
grep -qF "| KL divergence from the first model, nats | – | $(field "$work/eval.json" '"%.4f" % d["pruned"]["versus"]["kl"]')" "$card" || die "no distance from the base"
same_file "$work/base/README.md" "$work/Model-40/README.base.md"
expect 0 "verified" "$cull" verify "$work/base" "$work/plan.json" "$work/Model-40"

# verify finds what was changed in it, added beside it, or slipped in under its name.
damaged() { # TEXT COMMAND: after COMMAND in a copy, verify says TEXT
  rm -rf "$work/copy"
  cp -r "$work/Model-40" "$work/copy"
  (cd "$work/copy" && eval "$2")
  expect 1 "$1" "$cull" verify "$work/base" "$work/plan.json" "$work/copy"
}
damaged "sizes and digests" 'echo more >>README.md'
damaged "README.md: is missing" 'rm README.md'
damaged "notes.md: does not belong" 'echo new >notes.md'
damaged "README.base.md: is not the source" 'echo x >README.base.md'
damaged "README.base.md: is missing" 'rm README.base.md'
damaged "more than sampling" "sed -i 's/263,/262,/' generation_config.json"
damaged "a file of that name never is" "sed -i 's/\"added\": \\[/\"added\": [\"config.json\",/' cull-manifest.json"

# What was pruned with a kit is pruned again, twice: every file of the source is there, and verify says so.
from=$work/Model-40
for keep in 20 10; do
  "$cull" plan "$from" --criterion random --keep $keep --out "$work/plan-$keep.json" >/dev/null
  "$cull" apply "$from" "$work/plan-$keep.json" --out "$work/Model-$keep" --kit >"$work/said" 2>&1 || die "$(cat "$work/said")"
  expect 0 "verified" "$cull" verify "$from" "$work/plan-$keep.json" "$work/Model-$keep"
  from=$work/Model-$keep
done
same_file "$work/base/README.md" "$work/Model-10/README.base.md"
same_file "$work/Model-40/README.md" "$work/Model-10/README.base.2.md"
same_file "$work/Model-20/README.md" "$work/Model-10/README.base.3.md"
same_file "$work/Model-40/docker-compose.yml" "$work/Model-10/docker-compose.base.yml"
same_file "$work/Model-40/generation_config.json" "$work/Model-10/generation_config.json"
same_file "$work/base/generation_config.json" "$work/Model-10/generation_config.base.json"
grep -qF "README.md: the base's is kept as README.base.3.md" "$work/said" || die "where the base's card is, is not said"
"$cull" kit "$work/Model-20" "$work/plan-10.json" "$work/Model-10" >/dev/null 2>&1
expect 0 "verified" "$cull" verify "$work/Model-20" "$work/plan-10.json" "$work/Model-10"

# What cannot be added, or not be read, is known before a byte is written.
refused() { # TEXT OPTIONS...: apply from $work/broken says TEXT and leaves nothing
  expect 1 "$1" "$cull" apply "$work/broken" "$work/plan.json" --out "$work/x" --kit "${@:2}"
  absent "$work/x.partial"
}
cp -r "$work/base" "$work/broken"
refused "none.json: cannot be read" --with "$work/none.json"
refused "plan.json.txt" --with "$work/plan.json.txt"
echo "{" >"$work/bad.json"
refused "bad.json" --with "$work/bad.json"
mkdir "$work/broken/docker-compose.yml"
echo x >"$work/broken/docker-compose.yml/x"
refused "x/docker-compose.yml: cannot be added: the model has a folder of that name; rename it in the source"
rm -r "$work/broken/docker-compose.yml"
echo '{"temperature": 1.0,' >"$work/broken/generation_config.json"
refused "generation_config.json"
echo '[]' >"$work/broken/generation_config.json"
refused "generation_config.json: is not an object"

# Layers that keep different numbers: the card says how many, and who can load that.
cat >"$work/family.json" <<'JSON'
{"like": "glm_moe_dsa", "model_type": ["glm_moe_dsa"], "keys": {"layers": ["num_hidden_layers"], "mtp": "num_nextn_predict_layers",
 "experts": ["n_routed_experts", "num_experts"], "experts_per_layer": "num_routed_experts_per_layer"}}
JSON
"$cull" plan "$work/base" "$work/code.obs.safetensors" --family "$work/family.json" --keep 40 --budget non-uniform --out "$work/uneven.json" --json >"$work/uneven.out.json"
"$cull" apply "$work/base" "$work/uneven.json" --family "$work/family.json" --out "$work/Uneven" --kit --with "$work/code.obs.safetensors" --with "$work/eval.json" >/dev/null 2>&1
card=$work/Uneven/README.md
counts=$(field "$work/uneven.out.json" '[c["keep"] for c in d["cuts"]]')
for text in "| experts | $(field "$work/uneven.out.json" '" | ".join(str(c["keep"]) for c in d["cuts"])') |" "40.0 on average" \
  "with **$(python3 -c "c = $counts; print(min(c), 'to', max(c))") of 64**" 'that read `num_routed_experts_per_layer`'; do
  grep -qF -- "$text" "$card" || die "'$text' is not in the card"
  passed
done
expect 0 "verified" "$cull" verify "$work/base" "$work/uneven.json" "$work/Uneven" --family "$work/family.json"

# With the source's sampling left alone; and wrong use.
"$cull" apply "$work/base" "$work/plan.json" --out "$work/kept" --kit --keep-sampling >/dev/null 2>&1
same_file "$work/base/generation_config.json" "$work/kept/generation_config.json"
expect 0 "verified" "$cull" verify "$work/base" "$work/plan.json" "$work/kept"
expect 2 "--kit" "$cull" apply "$work/base" "$work/plan.json" --out "$work/x" --with "$work/eval.json"
expect 1 "not a complete checkpoint" "$cull" kit "$work/base" "$work/plan.json" "$work/base"
finish
