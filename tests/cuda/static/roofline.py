#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bytes against issue slots: which bound does a kernel's main loop meet first, on the devices of devices.json?

A multiprocessor quarter issues one instruction of a warp per clock. The instructions of a loop are counted in the disassembly (the
slow paths of divisions included, so the count is an upper bound), the bytes per turn and warp follow from the kernel's tile. Memory
time is at published bandwidth, mma time at published FLOP. Needs `kernels.py` to have run; installs the disassembler from PyPI and
exits 77 where that is not possible, 1 if CI=true.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

# kernel, bytes of device memory and mma in a turn of a warp, the ratios of devices that reach less than asked for, with block
# scales in pieces and by bytes, for which docs/cuda.md has the reason. A turn is 32 blocks of a row (512 columns of NVFP4, 1,024
# of MXFP4), or 64 columns of 32 weight rows, for 8 tokens 256.
NVFP4, MXFP4 = 32 * (128 + 16), 32 * (128 + 8)
KERNELS = [
    ("dequantize_fp4<nvfp4<modelopt, linear>, float>", 256 + 32 + 2048, 0, {}),
    ("dequantize_fp4<nvfp4<modelopt, linear>, bf16>", 256 + 32 + 1024, 0, {}),
    ("dequantize_fp4<nvfp4<modelopt, linear>, f16>", 256 + 32 + 1024, 0, {}),
    ("dequantize_fp4<nvfp4<compressed_tensors, linear>, bf16>", 256 + 32 + 1024, 0, {}),
    ("dequantize_fp4<nvfp4<modelopt, tiled_128x4>, bf16>", 256 + 32 + 1024, 0, {}),
    ("dequantize_fp4<nvfp4<compressed_tensors, linear>, float>", 256 + 32 + 2048, 0, {}),
    ("dequantize_fp4<nvfp4<modelopt, tiled_128x4>, f16>", 256 + 32 + 1024, 0, {}),
    ("dequantize_fp4<mxfp4, bf16>", 512 + 32 + 2048, 0, {}),
    ("dequantize_fp4<mxfp4, float>", 512 + 32 + 4096, 0, {}),
    ("find_amax<float>", 2048, 0, {}),
    ("find_amax<bf16>", 1024, 0, {}),
    ("quantize_nvfp4<modelopt, float>", 2048 + 256 + 32, 0, {}),
    ("quantize_nvfp4<modelopt, bf16>", 1024 + 256 + 32, 0, {}),
    ("quantize_nvfp4<compressed_tensors, float>", 2048 + 256 + 32, 0, {}),
    ("quantize_nvfp4<compressed_tensors, bf16>", 1024 + 256 + 32, 0, {}),
    ("gate_up_tile<1, 8, silu, true, nvfp4_whole>", NVFP4, 0, {}),
    ("down_tile<1, 8, store_outputs, nvfp4_whole>", NVFP4, 0, {}),
    ("gate_up_tile<1, 8, model_activation, true, nvfp4_ragged>", NVFP4, 0, {"B200": (0.99, 0.84)}),
    ("gate_up_tile<1, 8, clamped_swiglu, true, mxfp4_rows>", MXFP4, 0, {"B200": (1.0, 0.91)}),
    ("down_tile<1, 8, store_outputs, mxfp4_rows>", MXFP4, 0, {"B200": (1.0, 0.91)}),
    ("down_tile<1, 8, sum_squares, nvfp4_whole>", NVFP4, 0, {}),
    ("down_tile<1, 8, store_outputs, nvfp4_ragged>", NVFP4, 0, {"B200": (1.0, 0.85)}),
    ("matmul_tile<1, 8, nvfp4_whole>", NVFP4, 0, {}),
    ("gate_up_tile<3, 8, silu, true, nvfp4_whole>", NVFP4, 0, {"B200": (0.89, 0.88)}),
    ("down_tile<3, 8, store_outputs, nvfp4_whole>", NVFP4, 0, {"B200": (0.89, 0.88)}),
    ("matmul_tile<3, 8, nvfp4_ragged>", NVFP4, 0, {"B200": (0.87, 0.75)}),
    ("gate_up_tile<3, 8, clamped_swiglu, true, mxfp4_rows>", MXFP4, 0, {"B200": (0.86, 0.80)}),
    ("gate_up_tile<1, 64, silu, true, nvfp4_whole>", 0, 64, {}),
    ("down_tile<1, 64, store_outputs, nvfp4_whole>", 0, 64, {}),
    ("matmul_tile<1, 64, nvfp4_whole>", 0, 64, {}),
    ("gate_up_tile<1, 64, silu, true, nvfp4_ragged>", 0, 64, {}),
    ("down_tile<1, 64, store_outputs, nvfp4_ragged>", 0, 64, {}),
    ("gate_up_tile<1, 64, clamped_swiglu, true, mxfp4_rows>", 0, 64, {}),
    ("down_tile<1, 64, store_outputs, mxfp4_rows>", 0, 64, {}),
    ("matmul_tile<1, 64, mxfp4_rows>", 0, 64, {}),
    ("gate_up_tile<3, 64, silu, true, nvfp4_whole>", 0, 192, {}),
    ("down_tile<3, 64, sum_squares, nvfp4_whole>", 0, 192, {}),
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
            sys.exit(1 if os.environ.get("CI") == "true" else 77)
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


def target_of(instruction, labels):
    m = re.search(r"BRA.*?`\((\.L_\w+)\)", instruction)
    return labels.get(m[1]) if m else None


def main_loop(instructions, labels, marker):
    """The shortest loop that holds most instructions with `marker`, and where each of its branches goes in it."""
    marked = [i for i, o in enumerate(instructions) if re.search(marker, o)]
    loops = []
    for i, o in enumerate(instructions):
        begin = target_of(o, labels)
        if begin is None or "EXIT" in (o.strip() for o in instructions[begin:i]):  # after the kernel's end lies what divergent warps return from
            continue
        if sum(begin <= j <= i for j in marked) > len(marked) / 2:
            loops.append((begin, i + 1))
    begin, end = min(loops, key=lambda loop: loop[1] - loop[0])
    loop = instructions[begin:end]
    targets = {i: t - begin for i, o in enumerate(loop[:-1]) if (t := target_of(o, labels)) is not None and begin <= t <= end}
    return loop, targets


def slots_of(loop, targets, every, planes):
    """Issue slots of a turn, where block scales are copied in pieces of their rows and where by bytes.

    Not all of the loop is in every turn. Within the fetch of stages the block with the scales' copies runs every `every`-th turn:
    branches two deep that hold two copies or more. Of its ways the shortest with copies is for pieces, the longest for bytes; a
    loop in it loads 32 times a byte of each lane's or 16 times two. Blocks with two products for a code (of as many mma as there are
    `planes` of activations) are for scales of 2 and more, which MXFP4's trained weights have not."""
    skips = [range(i + 1, t) for i, t in targets.items() if t > i]
    holds = lambda block, what: sum(re.search(what, loop[i]) is not None for i in block)
    never = {i for block in skips for i in block if holds(block, r"HMUL2|HFMA2") > max(15, 6 * holds(block, "HMMA") / planes)}
    rare = max((b for b in skips if holds(b, "LDGSTS") >= 2 and not holds(b, r"HMMA|LDGSTS\S*\.128")), key=len, default=range(0))
    repeated = {}
    for end, begin in targets.items():
        if end in rare and begin <= end:
            block = range(begin, end + 1)
            bytes_loaded = holds(block, r"\bLDG?\.E\.U8") + 2 * holds(block, r"\bLDG?\.E\.U16")
            repeated |= {i: 32 // bytes_loaded for i in block}

    def ways(i):
        """(slots, copies) from instruction i to the block's end, by every way."""
        if i not in rare:
            return [(0, 0)]
        forward = targets.get(i, 0) if targets.get(i, 0) > i else None
        jumps = forward and re.match(r"BRA(\.U)? `", loop[i])
        next_ones = ([] if jumps else [i + 1]) + ([forward] if forward else [])
        return [(s + repeated.get(i, 1), n + ("LDGSTS" in loop[i])) for to in next_ones for s, n in ways(to)]

    always = len(loop) - len(never) - len(rare)
    found = ways(rare.start)
    wide = min((s for s, n in found if n >= 2), default=0)
    return always + wide / every, always + max(s for s, _ in found) / every


def main():
    work = pathlib.Path(sys.argv[1])
    nvdisasm = disassembler(work.parent)
    known = json.loads((work / "kernels.json").read_text())
    table = json.loads(pathlib.Path(__file__).with_name("devices.json").read_text())
    short = {s: b.replace("cull::v0_1::", "").replace("simt::", "") for s, b in known["bodies"].items()}
    failed = 0
    print(f"{'kernel':58}{'device':>13}{'slots':>6}{'narrow':>7}{'memory':>7}{'mma':>5}{'bound':>7}{'ratio':>6}{'narrow':>7}")
    for name, device in table["devices"].items():
        text = "".join(subprocess.run([nvdisasm, "-c", cubin], check=True, capture_output=True, text=True).stdout
                       for cubin in sorted((work / "keep").glob(f"kernels_*.compute_{device['architecture']}.cubin")))
        kernels = {short[s]: k for s, k in kernels_of(text).items() if s in short}
        quarters = 4 * device["multiprocessors"]
        bytes_per_clock = device["gigabytes"] / device["gigahertz"] / quarters
        flops_per_clock = 1000 * device["teraflops"] / device["gigahertz"] / quarters
        for kernel, moved, mma, less in KERNELS:
            loop, targets = main_loop(*kernels[kernel], next(m for part, m in MARKERS if part in kernel))
            slots, narrow = slots_of(loop, targets, (16 if "mxfp4" in kernel else 8) // (4 if ", 8, " in kernel else 1),
                                     3 if "tile<3" in kernel else 1)
            memory, multiply = moved / bytes_per_clock, mma * 4096 / flops_per_clock
            needed = multiply if mma else memory
            ratio, narrow_ratio = (needed / max(s, memory, multiply) for s in (slots, narrow))
            asked = 0.75 if mma else 1.0
            in_pieces, by_bytes = less.get(name, (asked, asked))
            good = ratio >= in_pieces and narrow_ratio >= by_bytes
            what = "issue" if slots > max(memory, multiply) else "mma" if multiply > memory else "memory"
            note = "   FAILED" if not good else "   known" if by_bytes < asked else ""
            failed += not good
            print(f"{kernel:58}{name:>13}{slots:>6.0f}{narrow:>7.0f}{memory:>7.0f}{multiply:>5.0f}{what:>7}{ratio:>6.2f}{narrow_ratio:>7.2f}{note}")
    sys.exit(1 if failed else 0)


main()
