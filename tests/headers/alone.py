#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone, included twice: alone.py INCLUDE_DIR COMPILER [FLAG...]

A header that another includes (at any depth) may stand before it in one source: what the second sees is the same as if it stood
alone. So the headers are covered by the fewest chains, each of whose headers includes the one before it, and a chain is one source.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

INCLUDE = re.compile(r"^\s*#\s*include <(cull/[^>]+)>", re.MULTILINE)


def closures(root):
    """Header -> the set of headers that it includes at any depth, itself among them."""
    direct = {str(p.relative_to(root)): INCLUDE.findall(p.read_text()) for p in sorted(root.glob("cull/**/*.hpp"))}
    done = {}

    def closure(header, above=()):
        if header not in direct:
            raise SystemExit(f"{above[-1]}: includes {header}, which does not exist")
        if header in above:
            raise SystemExit(f"{header} includes itself: {' > '.join(above)}")
        if header not in done:
            done[header] = {header}.union(*(closure(h, (*above, header)) for h in direct[header]))
        return done[header]

    return {header: closure(header) for header in direct}


def chains(closure):
    """A minimum cover by chains: a maximum matching of each header with one that includes it (Dilworth, Koenig)."""
    before = {}

    def match(header, tried):
        for other in closure:
            if other == header or header not in closure[other] or other in tried:
                continue
            tried.add(other)
            if other not in before or match(before[other], tried):
                before[other] = header
                return True
        return False

    for header in closure:
        match(header, set())
    last = set(closure) - set(before.values())
    for header in sorted(last):
        chain = [header]
        while chain[-1] in before:
            chain.append(before[chain[-1]])
        yield chain[::-1]


def compile_chain(command, chain):
    source = "".join(f"#include <{h}>\n" for h in chain) * 2
    run = subprocess.run([*command, "-x", "c++", "-"], input=source, capture_output=True, text=True)
    return chain, run.returncode, run.stderr


def main():
    root, command = pathlib.Path(sys.argv[1]), [*sys.argv[2:], "-std=c++20", "-fsyntax-only", f"-I{sys.argv[1]}"]
    covers = list(chains(closures(root)))
    covered = sorted(h for chain in covers for h in chain)
    if not covered or covered != sorted(str(p.relative_to(root)) for p in root.glob("cull/**/*.hpp")):
        raise SystemExit("the chains do not cover the headers")
    # Long chains cost most: they go first, so that the cores end together.
    covers.sort(key=len, reverse=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for chain, code, text in pool.map(lambda c: compile_chain(command, c), covers):
            if code or text:
                failed += 1
                print(f"{' < '.join(chain)}:\n{text}")
    print(f"{len(covered)} headers in {len(covers)} sources, {failed} of which do not compile")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
