# SPDX-License-Identifier: Apache-2.0
"""Saliency of a GLM-5.2 layer (256 experts, hidden 6144, width 2048, top-8) as it is done with today's packages: each fired expert is
dequantised to bf16 by modelopt, its products are torch's in bf16, and the gate-weighted norms of its outputs are summed.

usage: dequantize_per_expert.py [--tokens 2048 16384] [--experts 8] [--threads 2] [--collector FILE]

All experts are alike and see tokens * 8 / 256 tokens each, so `--experts` of them are timed and the layer is 256 times their mean:
routing, gathering and adding outputs are left out, in this way's favour. `--collector` names a JSON of cull_benchmarks with the
`collector` rows; their rates and the ratios are printed beside it.
"""
import argparse
import json
import statistics
import time

import torch
from modelopt.torch.quantization.qtensor import NVFP4QTensor

EXPERTS, TOP_K, HIDDEN, WIDTH, LAYERS = 256, 8, 6144, 2048, 75


def packed(rows, cols, seed):
    """A matrix as modelopt stores it: codes, block scales, tensor scale."""
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 256, (rows, cols // 2), dtype=torch.uint8, generator=random)
    scales = torch.randint(0x30, 0x48, (rows, cols // 16), dtype=torch.uint8, generator=random).view(torch.float8_e4m3fn)
    return NVFP4QTensor(torch.Size((rows, cols)), torch.bfloat16, codes), scales, torch.tensor(0.01)


def weights_of(matrix):
    tensor, scales, tensor_scale = matrix
    return tensor.dequantize(dtype=torch.bfloat16, scale=scales, double_scale=tensor_scale, block_sizes={-1: 16})


def saliency(expert, x, gates):
    gate, up, down = (weights_of(m) for m in expert)
    inner = torch.nn.functional.silu(x @ gate.T) * (x @ up.T)
    return (gates * (inner @ down.T).float().norm(dim=-1)).double().sum()


def seconds_an_expert(experts, tokens):
    x = torch.randn(tokens, HIDDEN, generator=torch.Generator().manual_seed(9)).to(torch.bfloat16)
    gates = torch.rand(tokens, generator=torch.Generator().manual_seed(10))
    saliency(experts[0], x, gates)
    times = []
    for expert in experts:
        begin = time.perf_counter()
        saliency(expert, x, gates)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 16384])
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--collector", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    experts = [[packed(WIDTH, HIDDEN, 3 * e), packed(WIDTH, HIDDEN, 3 * e + 1), packed(HIDDEN, WIDTH, 3 * e + 2)]
               for e in range(options.experts)]
    ours = {}
    if options.collector:
        with open(options.collector) as file:
            ours = {b["name"]: b["rate"] for b in json.load(file)["benchmarks"] if b["name"].startswith("collector")}
    for tokens in options.tokens:
        seconds = seconds_an_expert(experts, tokens * TOP_K // EXPERTS)
        rate = tokens / (EXPERTS * seconds)
        print(f"{tokens} tokens, {options.threads} threads: {rate:.1f} tokens/s of a layer, {rate / LAYERS:.2f} of {LAYERS} layers")
        for name, own in ours.items():
            if f"tokens:{tokens}/threads:{options.threads}" in name:
                print(f"  {name}: {own:.1f} tokens/s, {own / rate:.1f} times that")


if __name__ == "__main__":
    main()
