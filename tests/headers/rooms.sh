#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The include rules of include/cull: a room includes itself and rooms before it; umbrellas are for users; nlohmann and xxHash
# stay in checkpoint/, Eigen in cpu/eigen.hpp; only config.hpp tests __CUDACC__; nothing prints, aborts or reads the environment.
set -euo pipefail
root=${1:?usage: rooms.sh SOURCE_DIR}
cd "$root/include/cull"
rooms=(root numeric tensor router expert saliency selection checkpoint cpu cuda distributed)
declare -A rank
for i in "${!rooms[@]}"; do rank[${rooms[i]}]=$i; done
bad=0 checked=0
complain() { echo "$1"; bad=1; }
while read -r file; do
  room=${file%%/*}; [[ $room == "$file" ]] && room=root
  umbrella=no
  [[ -n ${rank[$room]:-} ]] || { complain "$file is in a folder that is no room"; continue; }
  if [[ $room == root && ! $file =~ ^(config|version|errc|error|executor|utf8)\.hpp$ ]]; then umbrella=yes; fi
  while read -r included; do
    checked=$((checked + 1))
    target=${included%%/*}; [[ $target == "$included" ]] && target=root
    if [[ $umbrella == yes ]]; then continue; fi
    [[ -n ${rank[$target]:-} ]] || { complain "$file includes cull/$included of no room"; continue; }
    if [[ $target == root && ! $included =~ ^(config|version|errc|error|executor|utf8)\.hpp$ ]]; then
      complain "$file includes the umbrella cull/$included"
    elif (( rank[$target] > rank[$room] )); then
      complain "$file (room $room) includes cull/$included (room $target), which comes later"
    fi
  done < <(sed -nE 's@^ *#include <cull/([^>]+)>.*@\1@p' "$file")
  grep -nE '#include <(nlohmann|xxhash)' "$file" | grep -q . && [[ $room != checkpoint ]] && complain "$file includes a library of checkpoint/"
  grep -nE '#include <Eigen' "$file" | grep -q . && [[ $file != cpu/eigen.hpp ]] && complain "$file includes Eigen"
  grep -nE '#include <(cuda|cub|thrust)' "$file" | grep -q . && complain "$file includes a CUDA header"
  grep -n '__CUDACC__' "$file" | grep -q '#' && [[ $file != config.hpp ]] && complain "$file tests __CUDACC__"
  grep -nE 'std::(cout|cerr|clog|abort|terminate|exit|getenv)\b|\bprintf *\(' "$file" && complain "$file prints, aborts or reads the environment"
done < <(find . -name '*.hpp' -printf '%P\n' | sort)
echo "$checked includes in $(find . -name '*.hpp' | wc -l) headers checked"
exit $bad
