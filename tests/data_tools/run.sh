#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# prepare.py against a tokenizer made by the test, and the kit's compose file by a YAML parser. Installs tokenizers, jinja2 and pyyaml into
# build/data-tools; with CULL_DATA_TOOLS_VENV naming an environment that has transformers, prepare.py is tested through that.
# usage: tests/data_tools/run.sh CULL_BINARY
set -euo pipefail
cd "$(dirname "$0")/../.."
cull=$(realpath "$1")
venv=${CULL_DATA_TOOLS_VENV:-build/data-tools}
if [[ ! -x $venv/bin/python ]]; then python3 -m venv "$venv"; fi
# tokenizers asks for a client of a model hub, which nothing here uses.
if ! "$venv/bin/python" -c 'import tokenizers, yaml, jinja2' 2>/dev/null &&
  ! "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile tokenizers pyyaml jinja2 markupsafe; then
  echo "skipped: tokenizers cannot be installed here"
  exit 0
fi
"$venv/bin/python" tests/data_tools/prepare_test.py examples/data/prepare.py "$cull" tests/data/tiny-glm/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=tests/data/tiny-glm
"$cull" plan $data/model --keep 40 --criterion random --out "$work/plan.json" >/dev/null
"$cull" apply $data/model "$work/plan.json" --out "$work/pruned" --kit >/dev/null 2>&1
"$venv/bin/python" tests/interop/serving_options.py "$work/pruned/docker-compose.yml"
