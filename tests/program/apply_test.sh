#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `apply` and `verify` with each of their options, as a user with a real download drives them.
source "$(dirname "$0")/check.sh" "$@"

plan=$work/plan.json
"$cull" plan "$model" --criterion random --keep 42 --out "$plan" >/dev/null
bytes_in() { find "$1" -type f -printf '%s\n' | paste -sd+ | bc; }

# What a dry run says is written, to the byte, file by file.
for size in "" "--shard-size 1MB"; do
  # shellcheck disable=SC2086
  "$cull" apply "$model" "$plan" --out "$work/dry" $size --dry-run --json >"$work/dry.json"
  absent "$work/dry"
  absent "$work/dry.partial"
  # shellcheck disable=SC2086
  "$cull" apply "$model" "$plan" --out "$work/dry" $size >/dev/null
  equals "$(field "$work/dry.json" 'd["bytes"]')" "$(bytes_in "$work/dry")"
  equals "$(field "$work/dry.json" '" ".join(sorted(f["name"] + ":" + str(f["bytes"]) for f in d["files"]))')" \
    "$(cd "$work/dry" && find . -type f -printf '%P:%s\n' | LC_ALL=C sort | paste -sd' ')"
  expect 0 "verified" "$cull" verify "$model" "$plan" "$work/dry"
  mv "$work/dry" "$work/written${size:+-cut}"
done
expect 0 "plan $(field "$work/dry.json" 'd["digest"]'): $(field "$work/dry.json" 'd["bytes"]') bytes to write" \
  "$cull" apply "$model" "$plan" --out "$work/dry" --shard-size 1000000 --dry-run
expect 0 "not counted" "$cull" apply "$model" "$plan" --out "$work/dry" --kit --dry-run

# Sizes: decimal units, as the hub counts; the shards are as many as they must be.
for size in 1MB 1000KB 1000000; do
  "$cull" apply "$model" "$plan" --out "$work/size" --shard-size $size >/dev/null
  same_tree "$work/written-cut" "$work/size"
  rm -r "$work/size"
done
[[ $(ls "$work"/written-cut/*.safetensors | wc -l) -gt 3 ]] || die "too few shards"
"$cull" apply "$model" "$plan" --out "$work/one" --shard-size 5GB >/dev/null
equals "$(cd "$work/one" && ls -- *.safetensors)" "model.safetensors"
expect 0 "written with shards of at most 5000000000 bytes" "$cull" verify "$model" "$plan" "$work/one"
for size in 5gb 5GiB -1GB 0 GB 5.5GB 99999999999GB "5 GB" ""; do
  expect 2 "is no size, such as 5GB" "$cull" apply "$model" "$plan" --out "$work/size" "--shard-size=${size:- }"
done
absent "$work/size.partial"

# Scales of activations at the layer's former maximum: of every expert, and verify knows.
"$cull" apply "$model" "$plan" --out "$work/max" --input-scale max >/dev/null 2>"$work/notes"
grep -q "every expert is given the former maximum" "$work/notes" || die "no note"
expect 0 "written with --input-scale max" "$cull" verify "$model" "$plan" "$work/max"
python3 - "$work/max" <<'P' || die "scales of a layer differ"
import glob, json, re, struct, sys
seen = {}
for path in glob.glob(sys.argv[1] + "/*.safetensors"):
    data = open(path, "rb").read()
    size, = struct.unpack("<Q", data[:8])
    for name, entry in json.loads(data[8:8 + size]).items():
        found = re.fullmatch(r"(model\.layers\.\d+)\.mlp\.experts\.\d+\.(\w+)\.input_scale", name)
        if found:
            begin, end = entry["data_offsets"]
            seen.setdefault(found.groups(), set()).add(data[8 + size + begin:8 + size + end])
assert len(seen) == 15 and all(len(values) == 1 for values in seen.values()), seen
P
passed
python3 - "$work/max/cull-plan.json" <<'P'
import json, sys
plan = json.load(open(sys.argv[1]))
del plan["checksum"]
assert plan.pop("input_scales") == "max"
json.dump(plan, open(sys.argv[1], "w"))
P
expect 1 "differs from" "$cull" verify "$model" "$plan" "$work/max"

# A sample says what it did not look at; a wrong byte is found by all of it and by none.
expect 0 "a sample: the bytes of" "$cull" verify "$model" "$plan" "$work/written" --sample 0.5
expect 2 "--sample" "$cull" verify "$model" "$plan" "$work/written" --sample 1.5
cp -r "$work/written" "$work/wrong"
shard=$work/wrong/model-00002-of-00003.safetensors
printf '\xa5' | dd of="$shard" bs=1 seek=$(($(stat -c %s "$shard") - 100)) conv=notrunc status=none
expect 1 "differs" "$cull" verify "$model" "$plan" "$work/wrong" --sample 1
expect 1 '"verified": false' "$cull" verify "$model" "$plan" "$work/wrong" --json
"$cull" verify "$model" "$plan" "$work/wrong" --sample 0 --json >"$work/sample.json"
equals "$(field "$work/sample.json" 'd["verified"], d["tensors"], d["all_tensors"] > 1000')" "(True, 0, True)"

# What engines demand: every row with what it means to each, met or not. A bad one is no difference, unless it is asked for.
"$cull" verify "$model" "$plan" "$work/written" --servable --json >"$work/serving.json"
"$cull" verify "$model" "$plan" "$work/written" >"$work/serving"
equals "$(field "$work/serving.json" 'd["servable"], {r["verdict"] for r in d["serving"]} == {"good", "note"}')" "(True, True)"
rows=$(field "$work/serving.json" 'len(d["serving"])')
[[ $rows -ge 19 ]] || die "only $rows rows"
equals "$(grep -cE '^(good|note|BAD)  +[a-zA-Z]' "$work/serving")" "$rows"
for engine in vLLM SGLang TensorRT-LLM; do equals "$(grep -c "^        $engine: [^ ]" "$work/serving")" "$rows"; done
grep -qE '^note  the widest input scale of every layer is left +1 went with a dropped expert, most in layer .*: [0-9.]+ -> [0-9.]+$' "$work/serving" ||
  die "no row of input scales"
mkdir "$work/zero"
cp "$model"/* "$work/zero"
chmod u+w "$work"/zero/*
python3 - "$work/zero" <<'P'
import glob, json, struct, sys
for path in glob.glob(sys.argv[1] + "/*.safetensors"):
    with open(path, "r+b") as f:
        size, = struct.unpack("<Q", f.read(8))
        for name, entry in json.loads(f.read(size)).items():
            if name.startswith("model.layers.3.mlp.experts.") and name.endswith("down_proj.input_scale"):
                f.seek(8 + size + entry["data_offsets"][0])
                f.write(bytes(4))
P
"$cull" apply "$work/zero" "$plan" --out "$work/zeroes" >/dev/null
got=0
expect 0 "BAD   tensor scales are finite and above 0" "$cull" verify "$work/zero" "$plan" "$work/zeroes"
expect 0 "1 demand of serving engines is not met" "$cull" verify "$work/zero" "$plan" "$work/zeroes"
expect 1 "1 demand of serving engines is not met" "$cull" verify "$work/zero" "$plan" "$work/zeroes" --servable
"$cull" verify "$work/zero" "$plan" "$work/zeroes" --servable --json >"$work/serving.json" 2>"$work/said" || got=$?
equals "$got $(cat "$work/said")" "1 "
equals "$(field "$work/serving.json" 'd["verified"], d["servable"]')" "(True, False)"
# A sample looks at no block scales, and says so, unless it is asked whether the model can be served.
python3 - "$work/zero" <<'P'
import glob, json, struct, sys
for path in glob.glob(sys.argv[1] + "/*.safetensors"):
    with open(path, "r+b") as f:
        size, = struct.unpack("<Q", f.read(8))
        for name, entry in json.loads(f.read(size)).items():
            if name.endswith("down_proj.input_scale"):
                f.seek(8 + size + entry["data_offsets"][0])
                f.write(struct.pack("<f", 1))
            if name.endswith(".weight_scale"):
                begin, end = entry["data_offsets"]
                f.seek(8 + size + begin)
                f.write(b"\x7f" * (end - begin))
P
"$cull" apply "$work/zero" "$plan" --out "$work/nans" >/dev/null
expect 0 "not looked at" "$cull" verify "$work/zero" "$plan" "$work/nans" --sample 0
"$cull" verify "$work/zero" "$plan" "$work/nans" --sample 0 --json >"$work/serving.json"
equals "$(field "$work/serving.json" 'd["verified"], d["servable"]')" "(True, None)"
expect 1 "1 demand of serving engines is not met" "$cull" verify "$work/zero" "$plan" "$work/nans" --sample 0 --servable

# --json-out has the result, whatever the end.
ends() { # TEXT EXPRESSION VALUE COMMAND...: status 1, TEXT for people, VALUE in the file
  expect 1 "$1" "${@:4}" --json-out "$work/result.json"
  equals "$(field "$work/result.json" "$2")" "$3"
}
ends "1 demand of serving engines is not met" 'd["verified"], d["servable"], len(d["serving"])' "(True, False, $rows)" \
  "$cull" verify "$work/zero" "$plan" "$work/nans" --servable
ends "do not use this checkpoint" 'd["verified"], len(d["failures"]) > 0' "(False, True)" "$cull" verify "$model" "$plan" "$work/wrong"

# An index that omits tensors.
mkdir "$work/bare"
cp "$model"/* "$work/bare"
chmod u+w "$work"/bare/*
sed -i '0,/^ *"lm_head.weight": .*$/{//d}' "$work/bare/model.safetensors.index.json"
expect 1 "not in the index" "$cull" apply "$work/bare" "$plan" --out "$work/adopted"
"$cull" apply "$work/bare" "$plan" --out "$work/adopted" --adopt-unindexed >/dev/null
expect 0 "verified" "$cull" verify "$work/bare" "$plan" "$work/adopted" --adopt-unindexed
same_file "$work/adopted/model.safetensors.index.json" "$work/written/model.safetensors.index.json"

# A cache of the hub: every file a link to a blob, which goes through all verbs and comes out as files.
mkdir -p "$work/hub/blobs" "$work/hub/snapshots/0123abc"
for file in "$model"/*; do
  blob=$(sha256sum "$file" | cut -c1-64)
  cp "$file" "$work/hub/blobs/$blob"
  ln -s "../../blobs/$blob" "$work/hub/snapshots/0123abc/$(basename "$file")"
done
"$cull" apply "$work/hub/snapshots/0123abc" "$plan" --out "$work/cached" >/dev/null
same_tree "$work/written" "$work/cached"
equals "$(find "$work/cached" -type l | wc -l)" 0
expect 0 "verified" "$cull" verify "$work/hub/snapshots/0123abc" "$plan" "$work/cached"
rm "$work"/hub/blobs/"$(sha256sum "$model/generation_config.json" | cut -c1-64)"
expect 1 "generation_config.json: does not belong" "$cull" verify "$work/hub/snapshots/0123abc" "$plan" "$work/cached"

# Four at once on one output: one writes it, the others are told why they do not.
for i in 1 2 3 4; do
  { "$cull" apply "$model" "$plan" --out "$work/race" >/dev/null 2>"$work/race.$i" && echo "done" >"$work/race.$i"; } &
done
wait
equals "$(cat "$work"/race.[1-4] | grep -c '^done$')" 1
equals "$(cat "$work"/race.[1-4] | grep -cE 'another process|exists|No such file')" 3
same_tree "$work/written" "$work/race"
absent "$work/race.partial"

# Names that a terminal would obey are shown, never sent.
esc=$'\e[31m'
mkdir "$work/odd"
cp "$model"/* "$work/odd"
echo x >"$work/odd/${esc}stray.safetensors"
echo x >"$work/odd/${esc}notes.txt"
chmod -R u+w "$work/odd"
quiet() { # STATUS TEXT COMMAND...: as expect, and no control character but line ends
  expect "$@"
  shift 2
  if { "$@" 2>&1 || true; } | LC_ALL=C grep -q '[[:cntrl:]]'; then die "a control character in the output of: $*"; fi
  passed
}
quiet 0 '\x1b[31mstray.safetensors belongs to no index' "$cull" inspect "$work/odd"
quiet 0 '\x1b[31mnotes.txt' "$cull" apply "$work/odd" "$plan" --out "$work/shown" --dry-run
expect 0 'left behind, not part of the model: \x1b[31mstray.safetensors' "$cull" apply "$work/odd" "$plan" --out "$work/shown"
quiet 0 "verified" "$cull" verify "$work/odd" "$plan" "$work/shown"
echo x >"$work/shown/${esc}more.txt"
quiet 1 '\x1b[31mmore.txt: does not belong' "$cull" verify "$work/odd" "$plan" "$work/shown"
quiet 2 '\x1b[31m' "$cull" inspect "$work/odd" "--allow=$esc"
python3 - "$work/odd" <<'P'
import json, struct, sys
path = sys.argv[1] + "/model-00001-of-00003.safetensors"
data = open(path, "rb").read()
size, = struct.unpack("<Q", data[:8])
header = json.loads(data[8:8 + size])
old = next(n for n in header if n.endswith("experts.3.up_proj.weight_scale_2"))
new = old.replace("weight_scale_2", "\x1b[31m\x00weight_scale_2")
header[new] = header.pop(old)
text = json.dumps(header).encode()
open(path, "wb").write(struct.pack("<Q", len(text)) + text + data[8 + size:])
index = sys.argv[1] + "/model.safetensors.index.json"
names = json.load(open(index))
names["weight_map"][new] = names["weight_map"].pop(old)
json.dump(names, open(index, "w"))
P
quiet 0 '\x1b[31m\x00weight_scale_2' "$cull" inspect "$work/odd" --allow nul-in-names
finish
