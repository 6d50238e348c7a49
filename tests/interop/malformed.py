# SPDX-License-Identifier: Apache-2.0
"""The verdicts of Python's safetensors package on the malformed headers, against cull's: both may only differ where
docs/malformed.md says so, and must differ there. Usage: malformed.py DIR docs/malformed.md"""
import json
import re
import sys

import safetensors


def reference(path):
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            opened.keys()
        return "accept"
    except Exception as problem:  # its errors have no common class
        return "reject: " + str(problem).splitlines()[0][:90]


def documented(page):
    """Rows of the table of deviations: (row, name) to (reference, cull)."""
    text = open(page, encoding="utf-8").read()
    section = text.split("## Deviations", 1)[1].split("\n## ", 1)[0]
    found = {}
    for line in section.splitlines():
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and cells[0].isdigit():
            found[int(cells[0]), cells[1].replace("\\|", "|")] = (cells[2], cells[3].strip("`"))
            assert cells[4], f"no reason given: {line}"
    return found


directory, page = sys.argv[1:]
cases = json.load(open(f"{directory}/verdicts.json", encoding="utf-8"))
actual = {}
agreed = 0
for case in cases:
    theirs = reference(f"{directory}/{case['file']}")
    if (theirs == "accept") == (case["cull"] == "accept"):
        agreed += 1
    else:
        actual[case["row"], case["name"]] = (theirs.split(":")[0], case["cull"])
wanted = documented(page)
for key in sorted(set(actual) | set(wanted)):
    if actual.get(key) != wanted.get(key):
        print(f"row {key[0]}, '{key[1]}': found {actual.get(key)}, docs/malformed.md has {wanted.get(key)}")
print(f"safetensors {safetensors.__version__}: {len(cases)} files, {agreed} verdicts agree, {len(actual)} deviate as documented")
sys.exit(actual != wanted)
