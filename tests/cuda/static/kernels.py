#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles every kernel for every architecture and holds it to its budget.

No warning, no spill, no local memory; registers, shared bytes and SASS instructions within 5 % of budgets.json, native e2m1
conversions and mma equal to it, occupancy not below it. --update writes the file. What is compiled stays in the work folder
(cubins, PTX, kernels.json) for the tests after this one.
"""
import argparse
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys

ARCHITECTURES = ["80", "90a", "100a", "103a", "120a", "121a"]
BLACKWELL = {"100a", "103a", "120a", "121a"}


def run(command, **options):
    return subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)


def compile_all(nvcc, source, work):
    shutil.rmtree(work, ignore_errors=True)
    (work / "keep").mkdir(parents=True)
    here = source / "tests/cuda"
    command = [nvcc, "-std=c++20", "-O3", "-I", source / "include", "-Xptxas", "-v,-warn-spills,-warn-lmem-usage", "-Werror", "all-warnings",
               "--threads", "2", "--keep", "--keep-dir", work / "keep", "-o", work / "list_kernels"]
    for a in ARCHITECTURES:
        command += ["-gencode", f"arch=compute_{a},code=sm_{a}"]
    command += sorted(here.glob("kernels_*.cu")) + ["-x", "cu", here / "static/list_kernels.cpp"]
    done = run(command)
    if done.returncode != 0:
        sys.exit(f"nvcc failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def demangled(names):
    return run(["c++filt"], input="\n".join(names), check=True).stdout.splitlines()


def body_of(readable):
    """The second argument of kernel<architectures, Body, arguments...>."""
    text = readable[readable.index("detail::kernel<") + len("detail::kernel<"):]
    depth, parts, begin = 0, [], 0
    for i, c in enumerate(text):
        if c in "<(":
            depth += 1
        elif c in ">)" and depth > 0:
            depth -= 1
        elif depth == 0 and c in ",>":
            parts.append(text[begin:i].strip())
            begin = i + 1
            if c == ">":
                break
    return parts[1]


def registers_and_memory(log):
    """{(architecture, symbol): (registers, static shared bytes)}; fails on stack, spills and local memory."""
    found, entry = {}, None
    for line in log.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line):
            entry = (m[2], m[1])
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if entry and m.groups() != ("0", "0", "0"):
                sys.exit(f"{demangled([entry[1]])[0]} on sm_{entry[0]}: {line.strip()}")
        elif m := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found[entry] = (int(m[1]), int(shared[1]) if shared else 0)
    return found


def text_sizes(cubin):
    """{symbol: SASS instructions} from the sizes of a cubin's .text sections: 16 bytes each."""
    data = cubin.read_bytes()
    offset, = struct.unpack_from("<Q", data, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", data, offset + i * size) for i in range(count)]
    strings = sections[names_at][4]
    sizes = {}
    for name_at, _, _, _, _, length in sections:
        name = data[strings + name_at:data.index(b"\0", strings + name_at)].decode()
        if name.startswith(".text."):
            sizes[name[6:]] = length // 16
    return sizes


def ptx_counts(ptx):
    """{symbol: (native e2m1 conversions, mma)}."""
    counts, entry = {}, None
    for line in ptx.read_text().splitlines():
        if m := re.search(r"\.entry (\w+)", line):
            entry = m[1]
            counts[entry] = [0, 0]
        elif entry:
            counts[entry][0] += len(re.findall(r"cvt\S*\.e2m1x2", line))
            counts[entry][1] += "mma.sync" in line
    return counts


def occupancy(work, compiler, cuda, rows):
    program = work / "occupancy"
    source = pathlib.Path(__file__).with_name("occupancy.cpp")
    run([compiler, "-std=c++20", "-isystem", cuda, source, "-o", program], check=True)
    text = "".join(f"{a} {b} {r} {s} {t}\n" for a, b, r, s, t in rows)
    return [int(v) for v in run([program], input=text, check=True).stdout.split()]


def measure(options, work):
    log = compile_all(options.nvcc, options.source, work)
    if "warning" in log:
        sys.exit(log)
    listed = {}
    for line in run([work / "list_kernels"], check=True).stdout.splitlines():
        threads, shared, body = line.split(" ", 2)
        listed[body] = (int(threads), int(shared))
    used = registers_and_memory(log)
    symbols = sorted({s for _, s in used})
    bodies = dict(zip(symbols, (body_of(n) for n in demangled(symbols))))
    if missing := set(bodies.values()) ^ set(listed):
        sys.exit(f"kernels and their list differ: {sorted(missing)}")
    measured, rows = {}, []
    for a in ARCHITECTURES:
        sass, ptx = {}, {}
        for cubin in (work / "keep").glob(f"*.compute_{a}.cubin"):
            sass |= text_sizes(cubin)
        for file in (work / "keep").glob(f"*.compute_{a}.ptx"):
            ptx |= ptx_counts(file)
        for (arch, symbol), (registers, shared) in sorted(used.items()):
            if arch != a:
                continue
            threads, needed = listed[bodies[symbol]]
            shared = max(shared, needed if needed > 48 * 1024 else 0)
            measured.setdefault(bodies[symbol], {})[a] = {
                "registers": registers, "shared": shared, "sass": sass[symbol], "e2m1": ptx[symbol][0], "mma": ptx[symbol][1]}
            digits = a.rstrip("a")
            rows.append((digits[:-1], digits[-1], registers, shared, threads, bodies[symbol], a))
    for (*_, body, a), value in zip(rows, occupancy(work, options.compiler, options.cuda, [r[:5] for r in rows])):
        measured[body][a]["occupancy"] = value
    (work / "kernels.json").write_text(json.dumps({"bodies": bodies, "measured": measured}, indent=1))
    return measured


def short(body):
    return body.replace("cull::v0_1::", "").replace("simt::", "")


def table(measured):
    print(f"{'kernel':64}{'sm':>6}{'regs':>6}{'shared':>8}{'sass':>7}{'e2m1':>6}{'mma':>5}{'occup.':>8}")
    for body, by_architecture in sorted(measured.items()):
        for a, v in by_architecture.items():
            print(f"{short(body)[:63]:64}{a:>6}{v['registers']:>6}{v['shared']:>8}{v['sass']:>7}{v['e2m1']:>6}{v['mma']:>5}{v['occupancy']:>7}%")


def complaints(measured, budgets):
    for body in sorted(set(measured) ^ set(budgets)):
        yield f"{body}: {'has no budget' if body in measured else 'has a budget and is not compiled'}"
    for body in sorted(set(measured) & set(budgets)):
        for a in ARCHITECTURES:
            now, limit = measured[body][a], budgets[body][a]
            for what in ("registers", "shared", "sass"):
                if now[what] > limit[what] * 1.05:
                    yield f"{body} on sm_{a}: {what} {limit[what]} -> {now[what]}"
            for what in ("e2m1", "mma"):
                if now[what] != limit[what]:
                    yield f"{body} on sm_{a}: {what} {limit[what]} -> {now[what]}"
            if now["occupancy"] < limit["occupancy"] * 0.95:
                yield f"{body} on sm_{a}: occupancy {limit['occupancy']} % -> {now['occupancy']} %"
        native = {a for a in ARCHITECTURES if measured[body][a]["e2m1"] > 0}
        if native not in (set(), BLACKWELL):
            yield f"{body}: native e2m1 conversions on {sorted(native)} only"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nvcc", required=True)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--cuda", required=True, help="the toolkit's include folder")
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    measured = measure(options, options.work)
    table(measured)
    file = options.source / "tests/cuda/budgets.json"
    if options.update:
        file.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
        return
    bad = list(complaints(measured, json.loads(file.read_text())))
    print("\n".join(bad) if bad else f"{len(measured)} kernels on {len(ARCHITECTURES)} architectures within their budgets")
    sys.exit(1 if bad else 0)


main()
