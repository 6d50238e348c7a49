#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The observation file is the same bits however the work was done.
source "$(dirname "$0")/check.sh" "$@"

head -n 10 "$data/calibration/code.jsonl" >"$work/few.jsonl"
observe() { local out=$1; shift; "$cull" calibrate "$model" --out "$out" --json "$@" >"$out.json"; }
observe "$work/first" --data "$work/few.jsonl" --threads 1 --batch-tokens 0
for threads in 2 4; do
  observe "$work/t$threads" --data "$work/few.jsonl" --threads $threads --batch-tokens 0
  equals "$(field "$work/t$threads.json" 'd["threads"]')" $threads
  same_file "$work/first" "$work/t$threads"
done
batches=0
for batch in 64 7 1; do
  observe "$work/b$batch" --data "$work/few.jsonl" --threads 2 --batch-tokens $batch
  same_file "$work/first" "$work/b$batch"
  now=$(field "$work/b$batch.json" 'd["batches"]')
  ((now > 5 * batches)) || die "--batch-tokens $batch gave $now batches"
  batches=$now
done
sort -R --random-source=<(yes) "$work/few.jsonl" >"$work/shuffled.jsonl"
cmp -s "$work/few.jsonl" "$work/shuffled.jsonl" && die "not shuffled"
observe "$work/shuffled" --data "$work/shuffled.jsonl"
same_file "$work/first" "$work/shuffled"

for part in 1 2 3 4 5; do
  sed -n "${part}p;$((part + 5))p" "$work/few.jsonl" >"$work/part$part.jsonl"
  observe "$work/p$part" --data "$work/part$part.jsonl"
done
"$cull" merge "$work"/p{1,2,3,4,5} --out "$work/merged" >/dev/null
"$cull" merge "$work"/p{4,2} --out "$work/m42" >/dev/null
"$cull" merge "$work"/p{5,3,1} "$work/m42" --out "$work/remerged" >/dev/null
same_file "$work/first" "$work/merged"
same_file "$work/first" "$work/remerged"
expect 1 "count twice" "$cull" merge "$work/m42" "$work/p2" --out "$work/twice"
absent "$work/twice"
observe "$work/bf16" --data "$work/part1.jsonl" --precision bf16
expect 1 "settings" "$cull" merge "$work/p2" "$work/bf16" --out "$work/mixed"

observe "$work/term" --data "$data/calibration/term.jsonl"
observe "$work/built" --data "$data/calibration/code.jsonl" --data "$data/calibration/traces.jsonl" --emphasize 262:16:6
same_file "$work/term" "$work/built"

observe "$work/code.domains" --data "$work/few.jsonl" --by-domain
head -n 4 "$data/calibration/traces.jsonl" >"$work/traces.jsonl"
observe "$work/traces.domains" --data "$work/traces.jsonl" --by-domain
observe "$work/both.domains" --data "$work/traces.jsonl" --data "$work/few.jsonl" --by-domain
"$cull" merge "$work/code.domains" "$work/traces.domains" --out "$work/merged.domains" >/dev/null
same_file "$work/both.domains" "$work/merged.domains"
finish
