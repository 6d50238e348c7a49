#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Line coverage of the reader's headers by its unit tests and the fuzz corpus: tests/fuzz/coverage.sh [--lines] (clang and llvm-cov).
# With --lines, the lines that nothing reached. Without, fails where less than 98 % of them are reached.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=build/coverage
mkdir -p "$build"
flags=(-std=c++20 -O0 -g -fprofile-instr-generate -fcoverage-mapping -Iinclude -Itests -isystem /usr/include/eigen3
  "-DCULL_TEST_DATA=\"$PWD/tests/data\"")
clang++ "${flags[@]}" tests/support/main.cpp tests/checkpoint/{malformed,malformed_index,header,plain,open,observation_file}_test.cpp \
  tests/root/error_test.cpp tests/checkpoint/malformed_headers.cpp -o "$build/corpus"
LLVM_PROFILE_FILE="$build/corpus.profraw" "$build/corpus" >/dev/null
objects=("$build/corpus")
for target in header index observation; do
  clang++ "${flags[@]}" -fsanitize=fuzzer "tests/fuzz/${target}_fuzz.cpp" -o "$build/$target"
  objects+=(-object "$build/$target")
  inputs=("tests/fuzz/corpus/$target")
  [[ -d build/fuzz/corpus/$target ]] && inputs+=("build/fuzz/corpus/$target")
  LLVM_PROFILE_FILE="$build/$target.profraw" "$build/$target" -runs=0 "${inputs[@]}" 2>/dev/null
done
llvm_suffix=$(clang++ --version | sed -n 's/.*version \([0-9]*\).*/-\1/p')
tool() { local name=$1; shift; if command -v "$name$llvm_suffix" >/dev/null; then "$name$llvm_suffix" "$@"; else "$name" "$@"; fi; }
tool llvm-profdata merge -o "$build/all.profdata" "$build"/*.profraw
cd include/cull
headers=(error.hpp utf8.hpp checkpoint/{header,header_entry,header_scanner,header_parser,header_tiling,file_kind,json,json_events,json_structure,plain_json,index,plain_index,index_parser,shard_index,leniency,mapped_file,model_tree,open_shards,source_file,safetensors_file,observation_file}.hpp)
cd ../..
report() { tool llvm-cov "$1" "${objects[@]}" -instr-profile "$build/all.profdata" "${headers[@]/#/include/cull/}"; }
if [[ ${1:-} == --lines ]]; then
  report show | grep -E '^ +[0-9]+\| +0\||^/'
else
  report report | tee "$build/report" | cut -c1-40,100-
  # Of the last line's lines: how many there are, how many were missed.
  read -r lines missed < <(awk '$1 == "TOTAL" {print $8, $9}' "$build/report")
  echo "$((lines - missed)) of $lines lines"
  ((100 * missed <= 2 * lines)) || { echo "FAILED: less than 98 % of the reader's lines are reached" >&2; exit 1; }
fi
