#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Python's safetensors package on the malformed headers: its verdicts differ from cull's where docs/malformed.md says so, only there.
set -euo pipefail
cd "$(dirname "$0")/../.."
corpus=$(realpath "${1:?usage: malformed.sh CULL_MALFORMED_CORPUS}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ ! -x build/interop-venv/bin/python ]]; then python3 -m venv build/interop-venv; fi
build/interop-venv/bin/python -c 'import safetensors, numpy' 2>/dev/null ||
  build/interop-venv/bin/pip install --quiet --disable-pip-version-check safetensors numpy
"$corpus" "$work"
build/interop-venv/bin/python tests/interop/malformed.py "$work" docs/malformed.md
