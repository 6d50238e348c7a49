#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the system calls of `cull apply` on the model and the output fail in turn, by strace, and goes on from what is left.

usage: system_calls.py CULL MODEL WORK [--every N] [--workers N]

Faults: EIO, ENOSPC, EDQUOT, EINTR, reads and writes of nothing, SIGKILL. After each the output is absent or whole, the source as it
was, and the same command ends with the same bytes. A write that says it moved all and moved nothing must be found by `cull verify`.
`--every N`: of the pairs of call and fault every Nth, so that all faults and kinds of calls have their turn; 1 takes all.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import os
import re
import shutil
import subprocess
import sys

CALLS = ("openat,pread64,pwrite64,read,write,fallocate,fdatasync,fsync,rename,renameat2,unlink,mkdir,flock,newfstatat,fstat,close,"
         "sync_file_range,ioctl,fcntl,statfs,getdents64,mmap,readlink,faccessat,faccessat2,ftruncate,lseek,copy_file_range")
FAULTS = ("error=EIO", "error=ENOSPC", "error=EDQUOT", "error=EINTR", "retval=0", "signal=KILL")


def tree(top):
    out = {}
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                out[os.path.relpath(path, top)] = hashlib.blake2b(f.read()).hexdigest()
    return out


def state(top):
    return {e.name: (e.stat().st_size, e.stat().st_mtime_ns) for e in os.scandir(top)}


class Sweep:
    def __init__(self, cull, model, work):
        self.cull, self.model, self.work = cull, model, work
        self.plan = os.path.join(work, "plan.json")
        subprocess.run([cull, "plan", model, "--criterion", "random", "--keep", "42", "--out", self.plan], check=True,
                       stdout=subprocess.DEVNULL)
        self.source = state(model)
        self.source_bytes = tree(model)
        wanted = os.path.join(work, "wanted")
        self.run([], wanted, must=True)
        self.wanted = tree(wanted)

    def run(self, before, out, must=False):
        done = subprocess.run([*before, self.cull, "apply", self.model, self.plan, "--out", out, "--threads", "1"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if must and done.returncode != 0:
            raise AssertionError(f"exit status {done.returncode}: {done.stderr}")
        return done.returncode

    def positions(self):
        """(call, its number) for every call on a file of the model or the output; numbers count all calls of that name."""
        log, out = os.path.join(self.work, "calls"), os.path.join(self.work, "recorded")
        self.run(["strace", "-f", "-y", "-qq", "-e", "trace=" + CALLS, "-o", log], out, must=True)
        count, found = collections.Counter(), []
        with open(log, errors="replace") as f:
            for line in f:
                name = re.match(r"\d+ +(\w+)\(", line)
                if name is None:
                    continue
                count[name[1]] += 1
                if self.model in line or out in line:
                    found.append((name[1], count[name[1]], line))
        return found

    def inject(self, call, number, fault, out):
        return self.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                         f"inject={call}:{fault}:when={number}"], out)

    def check(self, call, number, fault):
        out = os.path.join(self.work, f"{call}-{number}-{fault}")
        try:
            status = self.inject(call, number, fault, out)
            killed = fault == "signal=KILL"
            if not (status in (0, 1) or (killed and status in (-9, 137))):
                return f"exit status {status}"
            if os.path.exists(out):
                if tree(out) != self.wanted:
                    return "a wrong output is there"
            elif status == 0:
                return "nothing is there after success"
            else:
                self.run([], out, must=True)
                if tree(out) != self.wanted:
                    return "going on gave other bytes"
            if os.path.exists(out + ".partial"):
                return "something is left behind"
            if state(self.model) != self.source:
                return "the source was touched"
            return None
        except AssertionError as problem:
            return str(problem)
        finally:
            for path in (out, out + ".partial"):
                shutil.rmtree(path, ignore_errors=True)

    def lie(self, number, line):
        """A write that says it moved all and moved nothing."""
        size = re.search(r"= (\d+)$", line)[1]
        out = os.path.join(self.work, f"lie-{number}")
        try:
            status = self.inject("pwrite64", number, "retval=" + size, out)
            if status == 1 and not os.path.exists(out):
                return None  # noticed at once
            if status != 0:
                return f"exit status {status}"
            if tree(out) == self.wanted:
                return None if ".cull-journal" in line else "nothing was lost"
            verify = subprocess.run([self.cull, "verify", self.model, self.plan, out], capture_output=True, text=True)
            return None if verify.returncode == 1 else f"verify says {verify.returncode}"
        finally:
            for path in (out, out + ".partial"):
                shutil.rmtree(path, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("cull")
    parser.add_argument("model")
    parser.add_argument("work")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    sweep = Sweep(args.cull, os.path.abspath(args.model), os.path.abspath(args.work))
    positions = sweep.positions()
    names = collections.Counter(call for call, _, _ in positions)
    for needed in ("openat", "pread64", "pwrite64", "fallocate", "fdatasync", "fsync", "rename", "renameat2", "unlink", "flock", "mkdir"):
        if names[needed] == 0:
            sys.exit(f"FAILED: no {needed} was seen; the sweep would miss it")
    jobs = [(sweep.check, (call, number, fault)) for fault in FAULTS for call, number, _ in positions
            if fault != "retval=0" or call in ("pread64", "pwrite64")]
    lies = [(sweep.lie, (number, line)) for call, number, line in positions if call == "pwrite64"]
    jobs = jobs[::args.every] + lies[::max(1, args.every // 4)]
    with concurrent.futures.ThreadPoolExecutor(args.workers) as pool:
        answers = list(pool.map(lambda job: job[0](*job[1]), jobs))
    bad = [(job[1], answer) for job, answer in zip(jobs, answers) if answer]
    for what, answer in bad:
        print("FAILED:", what[:3], answer)
    if tree(sweep.model) != sweep.source_bytes:
        sys.exit("FAILED: the source has other bytes")
    print(f"{len(positions)} calls of {len(names)} kinds, {len(jobs)} faults, {len(bad)} violations")
    sys.exit(1 if bad else 0)


main()
