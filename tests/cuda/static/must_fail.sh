#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: must_fail.sh NVCC INCLUDE FILE    as tests/fail/must_fail.sh, for CUDA: FILE compiles for the architecture on its second line, and
# fails with CULL_FAIL defined, or for the architecture on its third line, with the text on its first
set -euo pipefail
nvcc=$1 include=$2 file=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
text=$(sed -n '1s@^// expected: @@p' "$file")
good=$(sed -n '2s@^// compiles for: @@p' "$file")
bad=$(sed -n '3s@^// fails for: @@p' "$file")
[[ -n $text && -n $good && -n $bad ]] || { echo "$file does not say what is expected of it"; exit 1; }
"$nvcc" -std=c++20 -arch="$good" -I"$include" -cubin "$file" -o "$work/good" || { echo "does not compile as it is"; exit 1; }
if "$nvcc" -std=c++20 -arch="$bad" -I"$include" -DCULL_FAIL -cubin "$file" -o "$work/bad" 2>"$work/errors"; then
  echo "compiles, but must not"
  exit 1
fi
grep -qF -- "$text" "$work/errors" || { echo "fails for another reason:"; head -20 "$work/errors"; exit 1; }
