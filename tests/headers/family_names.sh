#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# No family's name occurs in include/ outside the descriptors: a family is data.
set -euo pipefail
cd "${1:?usage: family_names.sh SOURCE_DIR}/include/cull"
names=$(grep -oE '"model_type": \[[^]]*\]' checkpoint/families.hpp | grep -oE '"[a-z0-9_]+"' | tr -d '"' | grep -v '^model_type$' | sort -u)
count=$(wc -w <<<"$names")
[[ $count -ge 30 ]] || { echo "only $count names were found in the descriptors"; exit 1; }
pattern=$(tr '\n' '|' <<<"$names"); pattern=${pattern%|}
if grep -rnwE "$pattern" --include='*.hpp' --include='*.cuh' . | grep -v '^./checkpoint/families.hpp:'; then
  echo "names of families belong into checkpoint/families.hpp"
  exit 1
fi
echo "$count names, none outside the descriptors"
