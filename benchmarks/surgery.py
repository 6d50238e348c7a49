#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of plan, apply and verify, against plain copies of the same bytes, interleaved.

usage: surgery.py CULL --work DIR [--pairs 20] [--gigabytes 1] [--only NAME]

copy    apply against `cp` of the files that it wrote, then fsync of each, source in the page cache; ratio of their times, pair by pair
python  one apply against loading every tensor and saving the kept ones with Python's safetensors package, if it is there
verify  verify against reading the same bytes of source and output once, with as many threads
memory  largest resident set of one apply
plan    a dry run for the model that big_model.py made, if --big names it
"""
import argparse
import glob
import json
import mmap
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def timed(*command):
    """Seconds and peak resident bytes of a command."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    if status != 0:
        sys.exit(f"{command} failed: {child.stderr.read().decode()}")
    return seconds, usage.ru_maxrss * 1024


def copy_files(files, to):
    """cp, then fsync of every file and of the directory."""
    begin = time.perf_counter()
    os.makedirs(to)
    subprocess.run(["cp", *files, to], check=True)
    for name in [*(os.path.join(to, os.path.basename(f)) for f in files), to]:
        fd = os.open(name, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return time.perf_counter() - begin


def read_all(ranges, threads):
    """Reads (file, begin, end) ranges in blocks, side by side."""
    def work(mine):
        # Of whole pages: see file_block in checkpoint/compare_files.hpp.
        view = memoryview(mmap.mmap(-1, 1 << 20))
        for name, begin, end in mine:
            fd = os.open(name, os.O_RDONLY)
            while begin < end:
                begin += os.preadv(fd, [view[:min(len(view), end - begin)]], begin)
            os.close(fd)
    begin = time.perf_counter()
    workers = [threading.Thread(target=work, args=(ranges[i::threads],)) for i in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return time.perf_counter() - begin


def report(name, ratios):
    """Median, and a bootstrap interval of it that holds with 95 %."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(4000))
    print(f"{name}: ratio {statistics.median(ratios):.3f}, 95 % interval {medians[100]:.3f} to {medians[-101]:.3f}, "
          f"{len(ratios)} interleaved pairs", flush=True)


def python_way(model, kept, out):
    """Loads every tensor, then saves the kept ones, as a program that goes through a framework does."""
    code = f"""
import glob, os, re, json
from safetensors.numpy import load_file, save_file
kept = json.load(open({kept!r}))["layers"]
tensors = {{}}
for f in sorted(glob.glob({model!r} + "/*.safetensors")): tensors.update(load_file(f))
new = {{}}
for name, t in tensors.items():
    m = re.match(r"(model\\.layers\\.(\\d+)\\.mlp\\.experts\\.)(\\d+)(\\..*)", name)
    if m is None: new[name] = t
    elif int(m[3]) in kept[m[2]]: new[m[1] + str(kept[m[2]].index(int(m[3]))) + m[4]] = t
os.makedirs({out!r})
save_file(new, {out!r} + "/model.safetensors")
fd = os.open({out!r} + "/model.safetensors", os.O_RDONLY); os.fsync(fd)
"""
    return timed(sys.executable, "-c", code)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("cull")
    parser.add_argument("--work", required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--big", default="")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    wants = lambda name: args.only in ("", name)
    if args.big and wants("plan"):
        seconds, peak = timed(args.cull, "apply", args.big, args.big.rstrip("/") + ".plan.json", "--out", args.work + "/none", "--dry-run")
        print(f"plan: {seconds:.2f} s, {peak / 1e6:.0f} MB resident at most", flush=True)
    model, out, copy = (os.path.join(args.work, n) for n in ("bench-model", "bench-out", "bench-copy"))
    plan = model + ".plan.json"
    for d in (model, out, copy):
        shutil.rmtree(d, ignore_errors=True)
    if args.only == "plan":
        return
    # Experts of 4 MB, 64 a layer.
    layers = max(1, round(args.gigabytes * 1e9 / (64 * 3 * 2048 * 1024 * 0.5625)))
    subprocess.run([sys.executable, HERE + "/big_model.py", model, "--layers", str(layers), "--experts", "64", "--dense", "0",
                    "--hidden", "2048", "--inner", "1024", "--shards", str(args.shards), "--fill"], check=True)
    apply = [args.cull, "apply", model, plan, "--out", out]
    seconds, peak = timed(*apply)
    written = sorted(glob.glob(out + "/*"))
    size = sum(os.path.getsize(f) for f in written)
    print(f"memory: {peak / 1e6:.1f} MB resident at most for {size / 1e9:.2f} GB written", flush=True)
    if wants("copy"):
        keep = os.path.join(args.work, "bench-kept")
        shutil.rmtree(keep, ignore_errors=True)
        os.rename(out, keep)
        files = sorted(glob.glob(keep + "/*"))
        ratios = []
        for i in range(args.pairs):
            def ours():
                t = timed(*apply)[0]
                shutil.rmtree(out)
                return t
            def theirs():
                t = copy_files(files, copy)
                shutil.rmtree(copy)
                return t
            a, b = (ours(), theirs()) if i % 2 == 0 else reversed((theirs(), ours()))
            ratios.append(b / a)
            print(f"  apply {size / a / 1e9:.2f} GB/s, cp and fsync {size / b / 1e9:.2f} GB/s", flush=True)
        report("speed of apply over cp and fsync", ratios)
        os.rename(keep, out)
    if wants("python"):
        try:
            import safetensors.numpy  # noqa: F401
            ratios = []
            for _ in range(min(5, args.pairs)):
                shutil.rmtree(out)
                ours = timed(*apply)[0]
                ratios.append(python_way(model, plan, copy)[0] / ours)
                shutil.rmtree(copy)
            report("speed of apply over load and save in Python", ratios)
        except ImportError:
            print("python: no safetensors package")
    if wants("verify"):
        threads = min(4, os.cpu_count())
        ranges = [(f, 0, os.path.getsize(f)) for f in sorted(glob.glob(out + "/*.safetensors"))]
        share = sum(e for _, _, e in ranges)
        sources = sorted(glob.glob(model + "/*.safetensors"))
        # As many bytes of the source as verify reads: those that were kept.
        ranges += [(f, 0, min(os.path.getsize(f), share // len(sources))) for f in sources]
        ratios = []
        for _ in range(args.pairs):
            ours = timed(args.cull, "verify", model, plan, out, "--threads", str(threads))[0]
            ratios.append(read_all(ranges, threads) / ours)
        report("speed of verify over plain reading", ratios)
    for d in (model, out, copy):
        shutil.rmtree(d, ignore_errors=True)


main()
