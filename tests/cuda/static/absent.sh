#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is missing must not pass for tested where CI=true: no toolkit of 13.0, no disassembler, no clang++-19; elsewhere tests are skipped. And the
# warning of architectures that lack Blackwell's own conversions names them, no others.
# usage: absent.sh SOURCE_DIR WORK CMAKE PYTHON
set -uo pipefail
source=$1 work=$2 cmake=$3 python=$4
rm -rf "$work" && mkdir -p "$work/bin" "$work/kernels" "$work/toolkit"
failed=0
expect() { # STATUS TEXT COMMAND...
  local status=$1 text=$2 out got=0
  shift 2
  out=$("$@" 2>&1) || got=$?
  if [[ $got -ne $status || ! $out =~ $text ]]; then
    printf '%s: status %s, expected %s and "%s" in:\n%s\n' "$*" "$got" "$status" "$text" "$out"
    failed=1
  fi
}

# Programs by name, but neither clang++-19 nor pip's index.
for program in bash mkdir dirname basename cat; do ln -s "$(command -v "$program")" "$work/bin/$program"; done
clang=(env "PATH=$work/bin" bash "$source/tests/cuda/static/clang.sh" "$source" "$work" "$work/toolkit")
expect 1 "clang..-19 is not installed" env CI=true "${clang[@]}"
expect 77 "clang..-19 is not installed" env CI=false "${clang[@]}"
disassembler=(env PIP_INDEX_URL=http://127.0.0.1:9/ PIP_RETRIES=0 PIP_CONFIG_FILE=/dev/null "$python" "$source/tests/cuda/static/roofline.py" "$work/kernels")
expect 1 "no disassembler" env CI=true "${disassembler[@]}"
expect 77 "no disassembler" env CI=false "${disassembler[@]}"

cat >"$work/toolkit.cmake" <<'END'
function(find_package)
endfunction()
function(option)
endfunction()
set(PROJECT_IS_TOP_LEVEL ON)
include(${SOURCE}/cmake/cull_cuda.cmake)
END
expect 1 "CI=true, and there is no CUDA toolkit" env CI=true "$cmake" -DSOURCE="$source" -P "$work/toolkit.cmake"
expect 0 "" env CI=false "$cmake" -DSOURCE="$source" -P "$work/toolkit.cmake"
expect 0 "" env CI=true "$cmake" -DSOURCE="$source" -DCULL_CUDA=OFF -P "$work/toolkit.cmake"

cat >"$work/warns.cmake" <<'END'
include(${SOURCE}/cmake/cull_cuda_architectures.cmake)
cull_warn_of_plain_blackwell("${ARCHITECTURES}")
END
for plain in 100 100-real 103 120 121-real; do
  expect 0 "architecture $plain has no native e2m1 conversion; ${plain%-real}a has" "$cmake" -DSOURCE="$source" "-DARCHITECTURES=90a;$plain" -P "$work/warns.cmake"
done
expect 0 "^$" "$cmake" -DSOURCE="$source" "-DARCHITECTURES=80;90a;100a;103a-real;120a;121a;120f;120-virtual" -P "$work/warns.cmake"
exit "$failed"
