#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C and kills at chosen system calls of `apply`, with all that it adds: the same command goes on, and ends with the same tree.
source "$(dirname "$0")/check.sh" "$@"
command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null || { echo "strace cannot trace here: skipped"; exit 77; }

cp -r "$model" "$work/base"
chmod -R u+w "$work/base"
echo "the base's own card" >"$work/base/README.md"
plan=$work/plan.json
"$cull" plan "$work/base" --criterion random --keep 42 --out "$plan" >/dev/null
apply() { (cd "$work" && "$cull" apply base plan.json --out out --threads 1 --kit --hash sha256 "$@"); }
at() { # SIGNAL CALL NUMBER: apply gets SIGNAL at the system call CALL of that number
  (cd "$work" && strace -f -qq -o /dev/null -e "trace=$2" -e "inject=$2:signal=$1:when=$3" "$cull" apply base plan.json --out out --threads 1 --kit --hash sha256)
}
# The number of the first call to which PATTERN belongs; of an apply that begins as things are, whose result goes away.
place_of() { # CALL PATTERN
  rm -rf "$work/spare.partial"
  [[ ! -e $work/out.partial ]] || cp -r "$work/out.partial" "$work/spare.partial"
  (cd "$work" && strace -f -qq -o "$work/log" -e "trace=$1" "$cull" apply base plan.json --out out --threads 1 --kit --hash sha256 >/dev/null 2>&1)
  rm -rf "$work/out"
  [[ ! -e $work/spare.partial ]] || mv "$work/spare.partial" "$work/out.partial"
  grep -n "$2" "$work/log" | head -n 1 | cut -d: -f1
}

if ! apply >/dev/null 2>"$work/said"; then
  grep -q "without OpenSSL" "$work/said" && { echo "built without OpenSSL: skipped"; exit 77; }
  die "$(cat "$work/said")"
fi
mv "$work/out" "$work/wanted"
expect 0 "verified" "$cull" verify "$work/base" "$plan" "$work/wanted"
for file in README.md README.base.md docker-compose.yml SHA256SUMS; do [[ -f $work/wanted/$file ]] || die "$file is not there"; done

# Ctrl-C: told how to go on, and gone on from there.
expect 1 "out.partial: stopped; the same command goes on from here" at INT pwrite64 8
absent "$work/out"
expect 0 "files were there from an interrupted run" apply
same_tree "$work/wanted" "$work/out"
rm -r "$work/out"

# The same while digests of what an interrupted run had written are read again.
expect 1 "goes on from here" at INT pwrite64 8
when=$(place_of rename 'cull-manifest.json')
expect 1 "out.partial: stopped; the same command goes on from here" at INT rename "$when"
absent "$work/out"
# Going on with another option, reading again what is there.
(cd "$work" && "$cull" apply base plan.json --out out --threads 2 --paranoid --kit --hash sha256 >/dev/null 2>&1)
for file in SHA256SUMS README.md cull-manifest.json; do [[ -f $work/out/$file ]] || die "$file is not there"; done
expect 0 "verified" "$cull" verify "$work/base" "$plan" "$work/out"
rm -r "$work/out"

# A finished file that was changed meanwhile is believed, but for --paranoid.
expect 1 "goes on from here" at INT pwrite64 8
shard=$work/out.partial/model-00001-of-00003.safetensors
[[ -f $shard ]] || die "no shard was finished"
printf '\xa5' | dd of="$shard" bs=1 seek=$(($(stat -c %s "$shard") - 100)) conv=notrunc status=none
apply --paranoid >/dev/null 2>&1
expect 0 "verified" "$cull" verify "$work/base" "$plan" "$work/out"
rm -r "$work/out"

# Killed at every name that is given, from the last shard to the output itself.
strace -f -qq -o "$work/log" -e trace=rename,renameat2 "$cull" apply "$work/base" "$plan" --out "$work/counted" --threads 1 --kit --hash sha256 >/dev/null 2>&1
names=$(grep -c ' rename(' "$work/log")
for when in $(seq 3 "$names") last; do
  if [[ $when == last ]]; then at KILL renameat2 1 >/dev/null 2>&1 && die "not killed"; else at KILL rename "$when" >/dev/null 2>&1 && die "not killed"; fi
  absent "$work/out"
  apply >/dev/null 2>&1
  same_tree "$work/wanted" "$work/out"
  absent "$work/out.partial"
  rm -r "$work/out"
done
[[ $names -ge 15 ]] || die "only $names names"

# Killed there, and gone on without what was to be added: none of it is left.
at KILL renameat2 1 >/dev/null 2>&1 && die "not killed"
[[ -f $work/out.partial/README.base.md ]] || die "nothing was added"
"$cull" apply "$work/base" "$plan" --out "$work/out" >/dev/null 2>&1
"$cull" apply "$work/base" "$plan" --out "$work/plain" >/dev/null 2>&1
same_tree "$work/plain" "$work/out"

# Killed there, and gone on with other shards: refused, and nothing of it is lost.
rm -r "$work/out"
at KILL renameat2 1 >/dev/null 2>&1 && die "not killed"
cp -r "$work/out.partial" "$work/before"
expect 1 "was begun with another plan" apply --shard-size 1MB
same_tree "$work/before" "$work/out.partial"
apply >/dev/null 2>&1
same_tree "$work/wanted" "$work/out"

# A second process is told while the first is stopped in the middle.
rm -r "$work/out"
(cd "$work" && exec strace -f -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:signal=STOP:when=4 "$cull" apply base plan.json --out out --threads 1) >/dev/null 2>&1 &
tracer=$!
soon() { # WHAT COMMAND...: within a minute it succeeds, and the tracer lives
  local tries
  for ((tries = 0; tries < 1200; ++tries)); do
    "${@:2}" && return
    kill -0 "$tracer" 2>/dev/null || die "apply ended before $1"
    sleep 0.05
  done
  die "no $1 within a minute"
}
soon "journal" test -e "$work/out.partial/.cull-journal"
expect 1 "another process is writing this directory" "$cull" apply "$work/base" "$plan" --out "$work/out"
found() { first=$(pgrep -P "$tracer"); }
soon "traced process" found
for ((tries = 0; tries < 1200; ++tries)); do
  kill -0 "$tracer" 2>/dev/null || break
  kill -CONT "$first" 2>/dev/null || true
  sleep 0.05
done
((tries < 1200)) || { kill -KILL "$first"; die "apply did not go on"; }
wait "$tracer"
same_tree "$work/plain" "$work/out"
finish
