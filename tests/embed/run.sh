#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1 model=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
case $(basename "$program") in
  *prune_a_checkpoint | *plan_from_elsewhere) "$program" "$model" pruned && test -f pruned/cull-manifest.json ;;
  *) "$program" ;;
esac
