#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Calibration from recorded states gives what the recorded run gives.
source "$(dirname "$0")/check.sh" "$@"

# States that are easy to make without a model: rows of a few values, the same for every layer.
python3 - "$work/states.safetensors" <<'PY'
import json, struct, sys
tokens, hidden = 40, 128
rows = [((t * 37 + h * 11) % 29 - 14) / 10 for t in range(tokens) for h in range(hidden)]
data = struct.pack(f"<{len(rows)}f", *rows)
header, body = {}, b""
for layer in range(1, 6):
    header[f"block_input.{layer}"] = {"dtype": "F32", "shape": [tokens, hidden], "data_offsets": [len(body), len(body) + len(data)]}
    body += data
text = json.dumps(header).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + body)
PY
"$cull" calibrate "$model" --states "$work/states.safetensors" --out "$work/obs" --json >"$work/out.json"
equals "$(field "$work/out.json" 'd["sequences"], d["tokens"]')" "(1, 40)"
equals "$(field "$work/out.json" 'd["memory"]["state_bytes"], 0 < d["memory"]["scratch_bytes"] < d["memory"]["resident_bytes"]')" "(20480, True)"
"$cull" calibrate "$model" --states "$work/states.safetensors" --out "$work/obs2" --batch-tokens 7 --threads 1 >/dev/null
same_file "$work/obs" "$work/obs2"
equals "$(python3 - "$work/obs" <<'PY'
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
entry = json.loads(raw[8:8 + n])["count"]
begin, end = entry["data_offsets"]
counts = struct.unpack(f"<{(end - begin) // 8}q", raw[8 + n + begin:8 + n + end])
print([sum(counts[64 * l:64 * l + 64]) for l in range(5)])
PY
)" "[320, 320, 320, 320, 320]"
"$cull" plan "$model" "$work/obs" --keep 42 --out "$work/plan.json" >/dev/null
expect 1 "the same" "$cull" calibrate "$model" --states "$work/states.safetensors" --states "$work/states.safetensors" --out "$work/twice"
expect 1 "block_input.1" "$cull" calibrate "$model" --states "$work/obs" --out "$work/none"
expect 2 "excludes" "$cull" calibrate "$model" --states "$work/states.safetensors" --data x --out "$work/none"
finish
