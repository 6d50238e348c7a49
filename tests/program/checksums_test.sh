#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `apply --hash sha256`: coreutils' sha256sum agrees, verify sees every lie.
source "$(dirname "$0")/check.sh" "$@"

"$cull" plan "$model" --criterion random --keep 42 --out "$work/plan.json" >/dev/null
expect 2 "--hash" "$cull" apply "$model" "$work/plan.json" --out "$work/bad" --hash md5
got=0
said=$("$cull" apply "$model" "$work/plan.json" --out "$work/out" --hash sha256 2>&1) || got=$?
if [[ $got == 2 && $said == *"without OpenSSL"* ]]; then echo "built without OpenSSL: skipped"; exit 77; fi
equals "$got" 0
expect 0 ": OK" bash -c "cd '$work/out' && sha256sum --strict -c SHA256SUMS"
equals "$(cut -d' ' -f3- "$work/out/SHA256SUMS" | sort)" "$(cd "$work/out" && find . -type f ! -name SHA256SUMS ! -name cull-manifest.json -printf '%P\n' | sort)"
expect 0 "verified" "$cull" verify "$model" "$work/plan.json" "$work/out"

# But for the list and its line in the manifest the output is the same.
"$cull" apply "$model" "$work/plan.json" --out "$work/plain" >/dev/null
cp -r "$work/out" "$work/same"
rm "$work/same/SHA256SUMS" "$work/same/cull-manifest.json"
cp -r "$work/plain" "$work/bare"
rm "$work/bare/cull-manifest.json"
same_tree "$work/bare" "$work/same"

# A wrong line, a missing line: with a manifest that agrees.
spoil() { # SED-SCRIPT
  rm -rf "$work/spoiled"
  cp -r "$work/out" "$work/spoiled"
  sed -i "$1" "$work/spoiled/SHA256SUMS"
  python3 - "$work/spoiled" "$(xxhsum -H2 "$work/spoiled/SHA256SUMS" | cut -d' ' -f1)" <<'P'
import json, os, sys
path = sys.argv[1] + "/cull-manifest.json"
text = open(path).read()
entry = json.loads(text)["files"]["SHA256SUMS"]
size = os.path.getsize(sys.argv[1] + "/SHA256SUMS")
old = '"SHA256SUMS": {"bytes": %d, "xxh128": "%s"}' % (entry["bytes"], entry["xxh128"])
assert old in text
open(path, "w").write(text.replace(old, '"SHA256SUMS": {"bytes": %d, "xxh128": "%s"}' % (size, sys.argv[2])))
P
}
spoil 's/$//'
expect 0 "verified" "$cull" verify "$model" "$work/plan.json" "$work/spoiled"
spoil '1s/^./z/'
expect 1 "SHA256SUMS: is not true" "$cull" verify "$model" "$work/plan.json" "$work/spoiled"
spoil '1d'
expect 1 "does not list every file" "$cull" verify "$model" "$work/plan.json" "$work/spoiled"

# The kit changes files and makes the list anew.
"$cull" kit "$model" "$work/plan.json" "$work/out" >/dev/null
expect 0 "README.md: OK" bash -c "cd '$work/out' && sha256sum --strict -c SHA256SUMS"
expect 0 "verified" "$cull" verify "$model" "$work/plan.json" "$work/out"

# A list that somebody has removed is listed no more.
cp -r "$work/out" "$work/less"
rm "$work/less/SHA256SUMS"
"$cull" kit "$model" "$work/plan.json" "$work/less" >/dev/null
equals "$(grep -c SHA256SUMS "$work/less/cull-manifest.json")" 0
expect 0 "verified" "$cull" verify "$model" "$work/plan.json" "$work/less"

# A source with a list of its own, and with names that sha256sum escapes.
cp -r "$work/out" "$work/second"
chmod -R u+w "$work/second"
echo x >"$work/second/a"$'\n'"b.txt"
echo x >"$work/second/c\\d.txt"
"$cull" plan "$work/second" --criterion random --keep 20 --out "$work/again.json" >/dev/null
"$cull" apply "$work/second" "$work/again.json" --out "$work/third" --kit --hash sha256 >/dev/null
expect 0 ": OK" bash -c "cd '$work/third' && sha256sum --strict -c SHA256SUMS"
equals "$(wc -l <"$work/third/SHA256SUMS")" "$(find "$work/third" -type f ! -name SHA256SUMS ! -name cull-manifest.json -printf x | wc -c)"
same_file "$work/second/SHA256SUMS" "$work/third/SHA256SUMS.base"
expect 0 "verified" "$cull" verify "$work/second" "$work/again.json" "$work/third"

# The source's own is no list of cull's: the kit leaves it alone.
"$cull" apply "$work/second" "$work/again.json" --out "$work/own" >/dev/null
"$cull" kit "$work/second" "$work/again.json" "$work/own" >/dev/null
same_file "$work/second/SHA256SUMS" "$work/own/SHA256SUMS"
expect 0 "verified" "$cull" verify "$work/second" "$work/again.json" "$work/own"
finish
