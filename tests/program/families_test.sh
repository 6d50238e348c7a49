#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every family from recorded states to transformers' keep-sets; those that the engine runs, from sequences too.
source "$(dirname "$0")/check.sh" "$@"

families=0
for fixture in "$2"/families/*; do
  name=$(basename "$fixture")
  "$cull" calibrate "$fixture/model" --states "$fixture/oracle.safetensors" --out "$work/$name.obs" >/dev/null
  "$cull" plan "$fixture/model" "$work/$name.obs" --keep "$(field "$fixture/keep.json" 'd["keep"]')" --out "$work/$name.plan" >/dev/null
  equals "$name: $(field "$work/$name.plan" '{k: v for k, v in sorted(d["layers"].items())}')" \
         "$name: $(field "$fixture/keep.json" '{k: v["keep"] for k, v in sorted(d["layers"].items())}')"
  families=$((families + 1))
done
equals "$families" 24

python3 - >"$work/sequences.jsonl" <<'PY'
import json
for n in range(3):
    print(json.dumps({"id": f"s{n}", "domain": "d", "ids": [(7 * i * i + 13 * n + i) % 160 for i in range(40)]}))
PY
for name in qwen3_moe glm4_moe deepseek_v3 mixtral minimax_m2 olmoe gpt_oss gpt_oss.mxfp4; do
  fixture=$2/families/$name
  "$cull" calibrate "$fixture/model" --data "$work/sequences.jsonl" --out "$work/$name.seen" >/dev/null
  "$cull" plan "$fixture/model" "$work/$name.seen" --keep "$(field "$fixture/keep.json" 'd["keep"]')" --out "$work/$name.json" >/dev/null
  "$cull" apply "$fixture/model" "$work/$name.json" --out "$work/$name" >/dev/null
  "$cull" verify "$fixture/model" "$work/$name.json" "$work/$name" >/dev/null
  "$cull" eval "$work/$name" --data "$work/sequences.jsonl" --json >"$work/$name.eval"
  # A random model knows nothing: about log(160) = 5.1 nats a token, and more where it is sure of the wrong one.
  equals "$name: $(field "$work/$name.eval" '4 < d["nats"]["d"] < 12 and d["mtp_agreement"] is None')" "$name: True"
done

for name in qwen3_next qwen3_5_moe nemotron_h lfm2_moe llama4_text; do
  expect 1 "of model_type '$name" "$cull" calibrate "$2/families/${name%_text}/model" --data "$work/sequences.jsonl" --out "$work/none"
  expect 1 "--states F.safetensors" "$cull" eval "$2/families/${name%_text}/model" --data "$work/sequences.jsonl"
done
absent "$work/none"

# A family that cull does not know, described in a file: the same tensors under another model_type.
cp -r "$2/families/olmoe/model" "$work/own"
chmod -R u+w "$work/own"
sed -i 's/"olmoe"/"own_type"/' "$work/own/config.json"
echo '{"like": "olmoe", "model_type": ["own_type"]}' >"$work/family.json"
echo '{"like": "olmoe", "model_typ": ["own_type"]}' >"$work/wrong.json"
expect 1 "--family FILE" "$cull" inspect "$work/own"
expect 1 "'model_typ' is not known" "$cull" inspect "$work/own" --family "$work/wrong.json"
expect 1 "nothing.json" "$cull" inspect "$work/own" --family "$work/nothing.json"
expect 0 "own_type" "$cull" inspect "$work/own" --family "$work/family.json"
own=(--family "$work/family.json")
"$cull" calibrate "$work/own" "${own[@]}" --states "$2/families/olmoe/oracle.safetensors" --out "$work/own.obs" >/dev/null
"$cull" plan "$work/own" "$work/own.obs" "${own[@]}" --keep 10 --out "$work/own.json" >/dev/null
"$cull" apply "$work/own" "$work/own.json" "${own[@]}" --out "$work/own-10" >/dev/null
expect 0 "verified" "$cull" verify "$work/own" "$work/own.json" "$work/own-10" "${own[@]}"
"$cull" convert "$work/own" "${own[@]}" --to nvfp4 --out "$work/own-nvfp4" >/dev/null
expect 0 "verified" "$cull" convert "$work/own" "${own[@]}" --to nvfp4 --check "$work/own-nvfp4"
finish
