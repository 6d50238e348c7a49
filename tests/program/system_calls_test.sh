#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `apply` under a real kernel: system calls that fail, kills, threads, working directories, umasks. A third argument 1 fails every
# call in every way (half an hour); the default takes a sample.
source "$(dirname "$0")/check.sh" "$@"
every=${3:-29}
command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null || { echo "strace cannot trace here: skipped"; exit 77; }

mkdir "$work/sweep"
python3 "$(dirname "$0")/system_calls.py" "$cull" "$model" "$work/sweep" --every "$every" --workers "$(((every == 1) + 1))"
passed

# Nothing of a model is mapped while it is copied: a file that shrinks is an error and no signal.
plan=$work/sweep/plan.json
wanted=$work/sweep/wanted
strace -f -qq -y -o "$work/maps" -e trace=mmap,openat "$cull" apply "$model" "$plan" --out "$work/mapped" --input-scale max >/dev/null 2>&1
grep -q 'openat.*\.safetensors' "$work/maps" || die "the trace sees no shard"
grep 'mmap.*\.safetensors' "$work/maps" && die "a shard was mapped"

# The same tree for any number of threads, from anywhere, with any umask.
for threads in 1 2 4; do
  "$cull" apply "$model" "$plan" --out "$work/t$threads" --threads $threads >/dev/null
  same_tree "$wanted" "$work/t$threads"
done
"$cull" apply "$model" "$plan" --out "$work/direct" --direct >/dev/null
same_tree "$wanted" "$work/direct"
ln -s "$(realpath "$model")" "$work/source"
(cd "$work" && "$cull" apply source sweep/plan.json --out here >/dev/null)
(cd / && "$cull" apply "$work/source" "$plan" --out "$work/there" >/dev/null)
same_tree "$wanted" "$work/here"
same_tree "$wanted" "$work/there"
for mask in 022 077; do
  (umask $mask && "$cull" apply "$model" "$plan" --out "$work/u$mask" >/dev/null)
  same_tree "$wanted" "$work/u$mask"
  while read -r path; do
    equals "$(stat -c %a "$path")" "$(printf %o $((0666 & ~mask)))"
  done < <(find "$work/u$mask" -type f)
done

# Killed at twenty writes, synchronisations and renames, going on each time with another number of threads, to the same tree.
kills=0
for call in pwrite64 fdatasync rename fsync; do
  for when in 1 3 4 6 8; do
    strace -f -qq -o /dev/null -e trace=$call -e inject=$call:signal=KILL:when=$when \
      "$cull" apply "$model" "$plan" --out "$work/killed" --threads 1 >/dev/null 2>&1 && die "$call $when: not killed"
    absent "$work/killed"
    "$cull" apply "$model" "$plan" --out "$work/killed" --threads $((1 << (kills % 3))) >/dev/null
    kills=$((kills + 1))
    same_tree "$wanted" "$work/killed"
    rm -r "$work/killed"
  done
done
equals $kills 20

# The comparison can tell: one byte more, one file more.
cp -r "$wanted" "$work/other"
printf x >>"$work/other/config.json"
diff -r "$wanted" "$work/other" >/dev/null && die "same_tree sees no byte"
cp "$wanted/config.json" "$work/other/config.json"
same_tree "$wanted" "$work/other"
touch "$work/other/more"
diff -r "$wanted" "$work/other" >/dev/null && die "same_tree sees no file"
finish
