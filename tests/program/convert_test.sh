#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Experts in other formats, from the command line: to plain values and quality, across dialects and back, and wrong use.
source "$(dirname "$0")/check.sh" "$@"

"$cull" convert "$model" --to bf16 --out "$work/bf16" --json >"$work/bf16.json"
equals "$(field "$work/bf16.json" 'd["to"], d["resumed"]')" "('bf16', 0)"
expect 0 "verified: 960 expert matrices" "$cull" convert "$model" --to bf16 --check "$work/bf16"
expect 0 "BF16" "$cull" inspect "$work/bf16"
"$cull" eval "$model" --data "$data/eval/heldout.jsonl" --json >"$work/a"
"$cull" eval "$work/bf16" --data "$data/eval/heldout.jsonl" --json >"$work/b"
equals "$(python3 - "$work/a" "$work/b" <<'PY'
import json, sys
a, b = (json.load(open(p))["nats"] for p in sys.argv[1:])
print(sorted(a) == sorted(b) and all(abs(a[k] - b[k]) < 2e-3 * a[k] for k in a))
PY
)" "True"

"$cull" convert "$model" --to nvfp4-compressed-tensors --out "$work/ct" >/dev/null
expect 0 "verified" "$cull" convert "$model" --to nvfp4-compressed-tensors --check "$work/ct"
"$cull" convert "$work/ct" --to nvfp4 --original "$model" --out "$work/back" --threads 1 >/dev/null
equals "$(python3 - "$model" "$work/back" <<'PY'
import glob, json, struct, sys
def tensors(folder):
    out = {}
    for path in glob.glob(folder + "/*.safetensors"):
        raw = open(path, "rb").read()
        n = struct.unpack("<Q", raw[:8])[0]
        for name, t in json.loads(raw[8:8 + n]).items():
            if name != "__metadata__":
                begin, end = t["data_offsets"]
                out[name] = (t["dtype"], t["shape"], raw[8 + n + begin:8 + n + end])
    return out
a, b = map(tensors, sys.argv[1:])
print(a == b, len(a) > 3000)
PY
)" "True True"

expect 1 "already" "$cull" convert "$model" --to nvfp4 --out "$work/none"
expect 1 "exists" "$cull" convert "$model" --to f32 --out "$work/ct"
expect 1 "differences" "$cull" convert "$model" --to f32 --check "$work/bf16"
expect 1 "config.json" "$cull" convert "$work" --to f32 --out "$work/none"
expect 2 "nvfp4-compressed-tensors" "$cull" convert "$model" --to q4_k --out "$work/none"
expect 2 "--out or --check" "$cull" convert "$model" --to f32
expect 0 "cull convert GLM-5.2-NVFP4 --to bf16" "$cull" convert --help
absent "$work/none"
absent "$work/none.partial"
finish
