#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
compiler=$1 include=$2 source=$3
expected=$(sed -n '1s@^// expected: @@p' "$source")
[[ -n $expected ]] || { echo "$source: first line must be '// expected: TEXT'"; exit 1; }
flags=(-std=c++20 -fsyntax-only -I"$include")
"$compiler" "${flags[@]}" "$source" || { echo "$source: the good branch does not compile"; exit 1; }
if errors=$("$compiler" "${flags[@]}" -DCULL_FAIL "$source" 2>&1); then echo "$source: compiles, and must not"; exit 1; fi
grep -qF -- "$expected" <<<"$errors" || { echo "$source: expected '$expected' among:"; echo "$errors"; exit 1; }
echo "refused as expected: $expected"
