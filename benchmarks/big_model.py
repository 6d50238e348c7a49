#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a model of GLM-5.2's size and names whose weights are holes in sparse files: 234,000 tensors in 282 shards take no disk.

usage: big_model.py DIR [--layers 78] [--experts 256] [--shards 282] [--config CONFIG.json]
"""
import argparse
import json
import os
import struct

BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "U8": 1}


def tensors(layers, experts, dense, hidden, inner):
    yield "model.embed_tokens.weight", "BF16", [154880, hidden]
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield at + name + ".weight", "BF16", [hidden]
        for name, shape in (("q_a_proj", [2048, hidden]), ("q_a_layernorm", [2048]), ("q_b_proj", [16384, 2048]),
                            ("kv_a_proj_with_mqa", [576, hidden]), ("kv_a_layernorm", [512]), ("kv_b_proj", [28672, 512]),
                            ("o_proj", [hidden, 16384])):
            yield at + f"self_attn.{name}.weight", "BF16", shape
        if layer < dense:
            for name in ("gate_proj", "up_proj", "down_proj"):
                yield at + f"mlp.{name}.weight", "BF16", [hidden, 12288]
            continue
        yield at + "mlp.gate.weight", "BF16", [experts, hidden]
        yield at + "mlp.gate.e_score_correction_bias", "F32", [experts]
        for name in ("gate_proj", "up_proj", "down_proj"):
            yield at + f"mlp.shared_experts.{name}.weight", "BF16", [inner, hidden]
        for expert in range(experts):
            for name, (rows, cols) in (("gate_proj", (inner, hidden)), ("up_proj", (inner, hidden)), ("down_proj", (hidden, inner))):
                stem = at + f"mlp.experts.{expert}.{name}."
                yield stem + "weight", "U8", [rows, cols // 2]
                yield stem + "weight_scale", "F8_E4M3", [rows, cols // 16]
                yield stem + "weight_scale_2", "F32", []
                yield stem + "input_scale", "F32", []
    yield "model.norm.weight", "BF16", [hidden]
    yield "lm_head.weight", "BF16", [154880, hidden]


def size(dtype, shape):
    n = BYTES[dtype]
    for d in shape:
        n *= d
    return n


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("--layers", type=int, default=78)
    parser.add_argument("--experts", type=int, default=256)
    parser.add_argument("--dense", type=int, default=3)
    parser.add_argument("--shards", type=int, default=282)
    parser.add_argument("--hidden", type=int, default=6144)
    parser.add_argument("--inner", type=int, default=2048)
    parser.add_argument("--config", default=os.path.join(os.path.dirname(__file__), "../tests/data/tiny-glm/model/config.json"))
    parser.add_argument("--fill", action="store_true", help="real bytes instead of holes")
    args = parser.parse_args()
    os.makedirs(args.dir)
    everything = list(tensors(args.layers, args.experts, args.dense, args.hidden, args.inner))
    per_shard = -(-len(everything) // args.shards)
    weight_map, total = {}, 0
    for s in range(args.shards):
        name = f"model-{s + 1:05d}-of-{args.shards:05d}.safetensors"
        part = sorted(everything[s * per_shard:(s + 1) * per_shard], key=lambda t: (-BYTES[t[1]], t[1], t[0]))
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for tensor, dtype, shape in part:
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size(dtype, shape)]}
            at += size(dtype, shape)
            weight_map[tensor] = name
        total += at
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(args.dir, name), "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            if args.fill:
                block = os.urandom(1 << 20)
                for begin in range(0, at, 1 << 20):
                    out.write(block[:min(1 << 20, at - begin)])
            else:
                out.truncate(8 + len(text) + at)
    with open(os.path.join(args.dir, "model.safetensors.index.json"), "w") as out:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, out, indent=2)
    with open(args.config) as f:
        config = json.load(f)
    config.update(hidden_size=args.hidden, num_hidden_layers=args.layers, n_routed_experts=args.experts, num_nextn_predict_layers=0,
                  first_k_dense_replace=args.dense, moe_intermediate_size=args.inner)
    for key in ("num_experts", "num_local_experts"):
        if key in config:
            config[key] = args.experts
    with open(os.path.join(args.dir, "config.json"), "w") as out:
        json.dump(config, out, indent=2)
    kept = list(range(0, args.experts, 3)) + list(range(1, args.experts, 3))
    kept = sorted(kept)[: args.experts * 21 // 32]
    with open(os.path.join(args.dir, "..", os.path.basename(args.dir) + ".plan.json"), "w") as out:
        json.dump({"layers": {str(l): kept for l in range(args.dense, args.layers)}}, out)
    print(len(everything), "tensors", total, "bytes")


main()
