#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds with g++ and clang++, runs every test, then the sanitizers on the parts that need them.
set -euo pipefail
cd "$(dirname "$0")/.."
source cmake/packages.sh
need_packages git cmake ninja-build g++ clang nlohmann-json3-dev libeigen3-dev libcli11-dev libxxhash-dev xxhash libssl-dev doctest-dev libbenchmark-dev libsimde-dev python3-venv strace

# The CUDA backend's kernels run here on the host; compiling them for the device needs the toolkit, of which Debian has no package.
if ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
  [[ ${CI:-} != true ]] || { echo "CI=true, and there is no nvcc: install the CUDA toolkit, 13.0 or later" >&2; exit 1; }
  echo "no nvcc: the CUDA kernels are not compiled for the device"
else
  need_packages clang-19
fi

jobs=$(nproc)
section() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
configure() { # NAME COMPILER [cmake options...]
  local name=$1 compiler=$2; shift 2
  cmake -S . -B "build/$name" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCULL_WARNINGS_AS_ERRORS=ON "$@" >"build/$name.log" ||
    { cat "build/$name.log"; exit 1; }
  cmake --build "build/$name" -j "$jobs"
}
# Scratch files in memory, where there is room: these tests wait for a disk ten times as long as they compute.
in_memory() { # COMMAND...
  local free folder status=0
  free=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1) || free=0
  if ((free < 2000000)); then "$@"; return; fi
  folder=$(mktemp -d -p /dev/shm cull-tests.XXXXXX)
  TMPDIR=$folder "$@" || status=$?
  rm -rf "$folder"
  return "$status"
}
mkdir -p build
quick='-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -gline-tables-only'
# Half the time of -O3 to compile; that optimisation changes no bit is a test of its own. The compiler's own memory is not collected: a tenth less.
unhurried='-DCMAKE_CXX_FLAGS_RELEASE=-O1 --param ggc-min-expand=1000 --param ggc-min-heapsize=1500000'

# Programs for a device: where there is none they only have to compile; every kernel is compiled for every architecture by a test, once.
architectures='120a-real'
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then architectures='80-real;90a-real;100a-real;103a-real;120a-real;121a-real'; fi

with_gcc() {
  section "g++: everything"
  configure gcc g++ -DCMAKE_BUILD_TYPE=Release "$unhurried" -DCULL_BUILD_BENCHMARKS=ON "-DCULL_CUDA_ARCHITECTURES=$architectures"
  ctest --test-dir build/gcc --output-on-failure --no-tests=error -j "$jobs"

  section "files read by other people's readers"
  tests/interop/safetensors.sh build/gcc/examples/cull
  tests/data_tools/run.sh build/gcc/examples/cull
  tests/interop/malformed.sh build/gcc/tests/cull_malformed_corpus
}

with_clang() {
  section "clang++: the program and the examples build without a warning"
  configure clang clang++ -DCULL_CUDA=OFF -DCMAKE_BUILD_TYPE=None -DCULL_BUILD_TESTS=OFF

  section "clang++ with AddressSanitizer and UndefinedBehaviorSanitizer: the library's tests"
  configure asan clang++ -DCULL_CUDA=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo "$quick" -DCULL_SANITIZE=address,undefined -DCULL_BUILD_EXAMPLES=OFF \
    '-DCULL_TEST_ROOMS=root;numeric;tensor;router;expert;saliency;selection;cpu;cuda'
  ctest --test-dir build/asan --output-on-failure --no-tests=error -j "$jobs"
  # Files are little arithmetic and much code: unoptimised it compiles in a third of the time, which its tests do not use up.
  configure asan-files clang++ -DCULL_CUDA=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo "${quick/-O1/-O0}" -DCULL_SANITIZE=address,undefined \
    -DCULL_BUILD_EXAMPLES=OFF -DCULL_TEST_ROOMS=checkpoint
  in_memory ctest --test-dir build/asan-files --output-on-failure --no-tests=error -j "$jobs"
  # What only a disk's file system offers (around the page cache, space asked for ahead) on one, as g++ has all of it.
  ctest --test-dir build/asan-files --output-on-failure --no-tests=error -j "$jobs" -R 'checkpoint\.(io|writer)_test'

  section "ThreadSanitizer"
  configure tsan clang++ -DCULL_CUDA=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo "$quick" -DCULL_SANITIZE=thread -DCULL_BUILD_EXAMPLES=OFF \
    '-DCULL_TEST_ROOMS=router;expert;saliency;cpu'
  ctest --test-dir build/tsan --output-on-failure --no-tests=error -j "$jobs"

  section "fuzz targets"
  tests/fuzz/run.sh 0 "$jobs"
}

# Side by side: where one waits for its last unit or test, the other has work. What clang's says is kept until g++'s is through.
set -m
with_clang >build/with_clang.log 2>&1 &
clang=$!
set +m
trap 'kill -- "-$clang" 2>/dev/null || true' EXIT
with_gcc
status=0
wait "$clang" || status=$?
cat build/with_clang.log
[[ $status -eq 0 ]] || exit "$status"

section "fuzzing"
# The same inputs each time; looking for new ones is what longer runs without a seed are for.
tests/fuzz/run.sh 40 2 1

section "all passed"
