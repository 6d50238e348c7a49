#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many calls that must not compile, in one run of the compiler: together.py COMPILER INCLUDE FILE

FILE compiles as it is. With CULL_FAIL each line with `// refused: TEXT` must have an error of its own, at that line or asked for by it,
with TEXT among its words. Words of the compiler's own, with names in quotes, are g++'s: of another compiler the error is enough.
"""
import os
import pathlib
import re
import subprocess
import sys

compiler, include, source = sys.argv[1:]
gnu = "clang" not in subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout


def compile_with(*defines):
    command = [compiler, "-std=c++20", "-fsyntax-only", "-fmax-errors=0" if gnu else "-ferror-limit=0", f"-I{include}", *defines, source]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})


def errors_of(text):
    """An error's lines: from where the compiler says what it was about to do, to the next such place or error."""
    blocks, block, seen_error = [], [], False
    for line in text.splitlines():
        begins = re.search(r": In (instantiation|substitution|function|member)|^In file included", line)
        is_error = " error: " in line
        if (begins or is_error) and seen_error:
            blocks.append("\n".join(block))
            block, seen_error = [], False
        block.append(line)
        seen_error = seen_error or is_error
    return blocks + ["\n".join(block)]


good = compile_with()
if good.returncode != 0:
    sys.exit(f"{source} does not compile as it is:\n{good.stderr}")
bad = compile_with("-DCULL_FAIL")
errors = errors_of(bad.stderr)
missing = 0
lines = pathlib.Path(source).read_text().splitlines()
expected = [(n, m[1]) for n, line in enumerate(lines, 1) if (m := re.search(r";\s+// refused: (.*)$", line))]
for number, text in expected:
    place = f"{source}:{number}:"
    if not any(place in e and (text in e or (not gnu and "'" in text)) for e in errors):
        missing += 1
        print(f"{place} expected '{text}' in an error; there is:\n" + "\n".join(e for e in errors if place in e))
print(f"{len(expected) - missing} of {len(expected)} calls refused as expected")
sys.exit(1 if missing or not expected else 0)
