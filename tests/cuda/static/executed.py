#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every kernel that nvcc compiled has been executed as a body on the host, and every body of the library that was executed there is
of a kernel that is compiled: kernels.json against the lists that the test programs left."""
import json
import pathlib
import sys

work, executed = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
compiled = set(json.loads((work / "kernels.json").read_text())["measured"])
ran = {line for file in executed.glob("*.txt") for line in file.read_text().splitlines() if line.startswith("cull::")}
never_ran = sorted(compiled - ran)
template = lambda name: name.split("<")[0]
not_compiled = sorted({template(n) for n in ran} - {template(n) for n in compiled})
for name in never_ran:
    print(f"compiled, never executed: {name}")
for name in not_compiled:
    print(f"executed, not compiled: {name}")
print(f"{len(compiled)} kernels compiled, {len(compiled & ran)} executed as bodies")
sys.exit(1 if never_ran or not_compiled else 0)
