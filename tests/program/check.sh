# SPDX-License-Identifier: Apache-2.0
# Sourced by the program's tests: a scratch folder, and checks that say what they expected.
set -euo pipefail
cull=$1
data=$2/tiny-glm
model=$data/model
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
checks=0

die() { echo "FAILED: $*" >&2; exit 1; }
passed() { checks=$((checks + 1)); }

# expect STATUS TEXT COMMAND...: runs COMMAND and wants that exit status, and TEXT somewhere in what it prints.
expect() {
  local status=$1 text=$2 got=0 output
  shift 2
  output=$("$@" 2>&1) || got=$?
  [[ $got == "$status" ]] || die "exit status $got instead of $status: $* -- $output"
  grep -qF -- "$text" <<<"$output" || die "'$text' is not in the output of: $* -- $output"
  passed
}
same_file() { cmp "$1" "$2" || die "$1 and $2 differ"; passed; }
same_tree() { diff -r "$1" "$2" || die "$1 and $2 differ"; passed; }
absent() { [[ ! -e $1 ]] || die "$1 is there and must not be"; passed; }
# field FILE EXPRESSION: a value of a JSON file, by Python's own parser.
field() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }
equals() { [[ $1 == "$2" ]] || die "got '$1', expected '$2'"; passed; }
finish() { echo "$checks checks passed"; }
