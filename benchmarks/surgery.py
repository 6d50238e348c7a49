#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of plan, apply and verify, against plain copies of the same bytes, interleaved.

usage: surgery.py CULL --work DIR [--pairs 20] [--gigabytes 1] [--only NAME]

copy    apply (through the cache, --direct, --hash sha256) against `cp` of the files that it wrote, then fsync of each, source in the
        page cache; ratio of their times, round by round
python  one apply against loading every tensor and saving the kept ones with Python's safetensors package and torch, if they are there
verify  verify against reading the same bytes of source and output once, with as many threads; cached, and from the disk
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


def forget(files):
    """Takes written files out of the page cache; a file system in memory has nowhere else to keep them."""
    for name in files:
        fd = os.open(name, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def report(name, ratios):
    """Median, and a bootstrap interval of it that holds with 95 %."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(4000))
    print(f"{name}: ratio {statistics.median(ratios):.3f}, 95 % interval {medians[100]:.3f} to {medians[-101]:.3f}, "
          f"{len(ratios)} interleaved rounds", flush=True)


def python_way(model, kept, out):
    """Loads every tensor, then saves the kept ones, as a program that goes through a framework does."""
    code = f"""
import glob, os, re, json
from safetensors.torch import load_file, save_file
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
    parser.add_argument("--threads", type=int, default=0, help="of verify and of what it is compared with (0: up to 4, as the machine has)")
    parser.add_argument("--big", default="")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    wants = lambda name: args.only in ("", name)
    if args.big and wants("plan"):
        seconds, peak = timed(args.cull, "apply", args.big, args.big.rstrip("/") + ".plan.json", "--out", args.work + "/none", "--dry-run")
        print(f"plan: {seconds:.2f} s, {peak / 1e6:.0f} MB resident at most", flush=True)
    model, out, copy = (os.path.join(args.work, n) for n in ("bench-model", "bench-out", "bench-copy"))
    plan = model + ".plan.json"
    for d in (model, out, copy, out + ".partial"):
        shutil.rmtree(d, ignore_errors=True)
    if args.only == "plan":
        return
    # GLM-5.2's experts, of 21 MB, 16 a layer: as many tensors a GB as there.
    layers = max(1, round(args.gigabytes * 1e9 / (16 * 3 * 6144 * 2048 * 0.5625)))
    subprocess.run([sys.executable, HERE + "/big_model.py", model, "--layers", str(layers), "--experts", "16", "--dense", "0",
                    "--hidden", "6144", "--inner", "2048", "--shards", str(args.shards), "--fill"], check=True)
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
        ways = {"cp and fsync": lambda: copy_files(files, copy), "apply": lambda: timed(*apply)[0],
                "apply --direct": lambda: timed(*apply, "--direct")[0], "apply --hash sha256": lambda: timed(*apply, "--hash", "sha256")[0]}
        ratios = {way: [] for way in ways}
        for i in range(args.pairs):
            took = {}
            for way in random.Random(i).sample(list(ways), len(ways)):  # what a disk still has to do is no one's own
                took[way] = ways[way]()
                shutil.rmtree(copy if way.startswith("cp") else out)
            for way in ways:
                ratios[way].append(took["cp and fsync"] / took[way])
            print("  GB/s: " + ", ".join(f"{way} {size / t / 1e9:.2f}" for way, t in took.items()), flush=True)
        for way in list(ways)[1:]:
            report(f"speed of {way} over cp and fsync", ratios[way])
        os.rename(keep, out)
    if wants("python"):
        try:
            import safetensors.torch  # noqa: F401 (numpy has neither bfloat16 nor float8)
            ratios = []
            for _ in range(min(5, args.pairs)):
                shutil.rmtree(out, ignore_errors=True)
                ours = timed(*apply)[0]
                ratios.append(python_way(model, plan, copy)[0] / ours)
                shutil.rmtree(copy)
            report("speed of apply over load and save in Python", ratios)
        except ImportError:
            print("python: needs the packages safetensors and torch")
    if wants("verify"):
        threads = args.threads or min(4, os.cpu_count())
        ranges = [(f, 0, os.path.getsize(f)) for f in sorted(glob.glob(out + "/*.safetensors"))]
        sources = sorted(glob.glob(model + "/*.safetensors"))
        # As many bytes of the source as verify reads: those that were kept.
        left = sum(e for _, _, e in ranges)
        for f in sources:
            ranges.append((f, 0, min(os.path.getsize(f), left)))
            left -= ranges[-1][2]
        for where in ("memory", "disk"):
            ratios = []
            for i in range(args.pairs):
                took = {}
                for way in ("verify", "reading") if i % 2 == 0 else ("reading", "verify"):
                    if where == "disk":
                        forget(glob.glob(out + "/*") + glob.glob(model + "/*"))
                    took[way] = (timed(args.cull, "verify", model, plan, out, "--threads", str(threads))[0] if way == "verify" else
                                 read_all(ranges, threads))
                ratios.append(took["reading"] / took["verify"])
            report(f"speed of verify over plain reading from {where}, {threads} threads", ratios)
    for d in (model, out, copy):
        shutil.rmtree(d, ignore_errors=True)


main()
