#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bytes against issue slots: which bound does a kernel's main loop meet first, on the devices of devices.json?

A multiprocessor quarter issues one instruction of a warp per clock. The instructions of a loop are counted in the disassembly (the
slow paths of divisions included, so the count is an upper bound), the bytes per turn and warp follow from the kernel's tile. Memory
time is at published bandwidth, mma time at published FLOP. Needs `kernels.py` to have run; installs the disassembler from PyPI and
exits 77 where that is not possible.
"""
import json
import pathlib
import re
import subprocess
import sys

# kernel, what a turn of a warp is, bytes of device memory in it, mma in it; devices where the bound is not reached, with the reason
# in docs/cuda.md
TILE = "512 columns of a row"
GROUP = "64 columns of 32 weight rows"
KERNELS = [
    ("dequantize_nvfp4<modelopt, float>", TILE, 256 + 32 + 2048, 0, ()),
    ("dequantize_nvfp4<modelopt, bf16>", TILE, 256 + 32 + 1024, 0, ()),
    ("dequantize_nvfp4<modelopt, f16>", TILE, 256 + 32 + 1024, 0, ()),
    ("find_amax<float>", TILE, 2048, 0, ()),
    ("find_amax<bf16>", TILE, 1024, 0, ()),
    ("quantize_nvfp4<modelopt, float>", TILE, 2048 + 256 + 32, 0, ()),
    ("quantize_nvfp4<modelopt, bf16>", TILE, 1024 + 256 + 32, 0, ()),
    ("quantize_nvfp4<compressed_tensors, bf16>", TILE, 1024 + 256 + 32, 0, ("A100", "B200")),
    ("gate_up_tile<1, 8, silu, true, nvfp4_whole>", GROUP, 32 * 36, 0, ("B200",)),
    ("down_tile<1, 8, store_outputs, nvfp4_whole>", GROUP, 32 * 36, 0, ("B200",)),
    ("gate_up_tile<1, 64, silu, true, nvfp4_whole>", GROUP, 0, 64, ()),
    ("down_tile<1, 64, store_outputs, nvfp4_whole>", GROUP, 0, 64, ()),
]
# What the main loop of a kernel is full of; the loop that divides again where a quotient may be wrong has no wide loads.
MARKERS = [("tile<", r"\bHMMA"), ("dequantize", r"\bSTG"), ("", r"\bLDG\.E\S*\.128")]


def disassembler(work):
    venv = work / "nvdisasm"
    found = list(venv.glob("lib/python*/site-packages/nvidia/*/bin/nvdisasm"))
    if not found:
        try:
            subprocess.run([sys.executable, "-m", "venv", venv], check=True, capture_output=True)
            subprocess.run([venv / "bin/pip", "-q", "install", "nvidia-cuda-nvdisasm"], check=True, capture_output=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as reason:
            print(f"no disassembler: {reason}")
            sys.exit(77)
        found = list(venv.glob("lib/python*/site-packages/nvidia/*/bin/nvdisasm"))
    return found[0]


def kernels_of(text):
    """{symbol: (instructions, {label: index})}."""
    kernels, current = {}, None
    for line in text.splitlines():
        line = line.strip()
        if m := re.match(r"\.text\.(\S+):", line):
            current = kernels.setdefault(m[1], ([], {}))
        elif current and (m := re.match(r"(\.L_\w+):", line)):
            current[1][m[1]] = len(current[0])
        elif current and (m := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line)):
            current[0].append(m[1])
    return kernels


def main_loop_slots(instructions, labels, marker):
    """Issue slots of the shortest loop that holds most instructions with `marker`."""
    marked = [i for i, o in enumerate(instructions) if re.search(marker, o)]
    loops = []
    for i, o in enumerate(instructions):
        m = re.search(r"BRA.*?`\((\.L_\w+)\)", o)
        if m and m[1] in labels and sum(labels[m[1]] <= j <= i for j in marked) > len(marked) / 2:
            loops.append((labels[m[1]], i + 1))
    begin, end = min(loops, key=lambda loop: loop[1] - loop[0])
    return slots_of(instructions[begin:end], labels, begin)


def slots_of(loop, labels, begin):
    """Instructions of a turn. Within the fetch of a stage, which is skipped near the end, the block with the scales' copies runs
    every eighth turn: branches two deep that hold two copies or more."""
    skips = []
    for i, o in enumerate(loop):
        m = re.search(r"BRA.*?`\((\.L_\w+)\)", o)
        target = labels.get(m[1], 0) - begin if m else 0
        if m and i < target <= len(loop):
            skips.append(range(i + 1, target))
    rare = set()
    for inner in skips:
        nested = any(outer.start < inner.start and inner.stop <= outer.stop for outer in skips)
        if nested and sum("LDGSTS" in loop[i] for i in inner) >= 2:
            rare |= set(inner)
    return len(loop) - len(rare) * 7 // 8


def main():
    work = pathlib.Path(sys.argv[1])
    nvdisasm = disassembler(work.parent)
    known = json.loads((work / "kernels.json").read_text())
    table = json.loads(pathlib.Path(__file__).with_name("devices.json").read_text())
    short = {s: b.replace("cull::v0_1::", "").replace("simt::", "") for s, b in known["bodies"].items()}
    failed = 0
    print(f"{'kernel':46}{'device':>14}{'slots':>7}{'memory':>8}{'mma':>7}{'bound':>9}{'ratio':>7}   clocks per {GROUP} or {TILE}")
    for name, device in table["devices"].items():
        text = "".join(subprocess.run([nvdisasm, "-c", cubin], check=True, capture_output=True, text=True).stdout
                       for cubin in sorted((work / "keep").glob(f"kernels_*.compute_{device['architecture']}.cubin")))
        kernels = {short[s]: k for s, k in kernels_of(text).items() if s in short}
        quarters = 4 * device["multiprocessors"]
        bytes_per_clock = device["gigabytes"] / device["gigahertz"] / quarters
        flops_per_clock = 1000 * device["teraflops"] / device["gigahertz"] / quarters
        for kernel, _, moved, mma, excused in KERNELS:
            slots = main_loop_slots(*kernels[kernel], next(m for part, m in MARKERS if part in kernel))
            memory, multiply = moved / bytes_per_clock, mma * 4096 / flops_per_clock
            bound = max(slots, memory, multiply)
            ratio = (multiply if mma else memory) / bound
            good = ratio >= (0.75 if mma else 1.0)
            what = "issue" if bound == slots else "memory" if bound == memory else "mma"
            note = "" if good else "   not reached, known" if name in excused else "   FAILED"
            failed += not good and name not in excused
            print(f"{kernel:46}{name:>14}{slots:>7}{memory:>8.0f}{multiply:>7.0f}{what:>9}{ratio:>7.2f}{note}")
    sys.exit(1 if failed else 0)


main()
