# SPDX-License-Identifier: Apache-2.0
# Writes an observation of LAYERS x EXPERTS as large models have them, and the figures that a report of it must show, by arithmetic of its own.
# usage: synthetic_observation.py LAYERS EXPERTS OUT.safetensors FIGURES.json
import json
import math
import random
import struct
import subprocess
import sys
from fractions import Fraction

layers, experts = int(sys.argv[1]), int(sys.argv[2])
random.seed(7)
sequences = 400
by_sequence = {"sum_g": "gate", "sum_f": "norm", "sum_gf": "mean"}  # with the mean of each in a cell
sums = ["sum_w", "sum_g", "sum_f", "sum_gf", "sum_gf2", "sum_f2", "sum_w.squares"]
sums += [name + product for name in by_sequence for product in (".times_w", ".squares")]
cells = []  # one dict per expert, all layers


def limbs(value):
    fixed = int(Fraction(value) * 2**80)
    return [(fixed >> (32 * i)) & 0xFFFFFFFF for i in range(5)]


for layer in range(layers):
    scale = 0.02 * 1.045**layer
    for expert in range(experts):
        if random.random() < 0.004:
            cells.append(dict.fromkeys(sums, 0.0) | {"count": 0, "max": 0.0, "sequences": 0})
            continue
        count = max(1, int(math.exp(random.gauss(8.6, 1.1)))) if random.random() > 0.02 else random.randint(1, 40)
        norm = scale * math.exp(random.gauss(0, 0.55) + (2.0 if random.random() < 0.008 else 0))
        gate = 0.125 * math.exp(random.gauss(0, 0.25))
        mean, share, spread = gate * norm, count / sequences, 1.2 + 40 / math.sqrt(count)
        means = {"gate": gate, "norm": norm, "mean": mean}
        products = {}
        for name, of in by_sequence.items():
            products[name + ".times_w"] = sequences * share * share * means[of]
            products[name + ".squares"] = sequences * share * share * means[of] ** 2 * (1 + spread)
        cells.append(products | {
            "count": count, "max": 4 * norm, "sequences": sequences,
            "sum_w": float(count), "sum_g": count * gate, "sum_f": count * norm, "sum_gf": count * mean,
            "sum_gf2": 1.3 * count * mean * mean, "sum_f2": 1.3 * count * norm * norm,
            "sum_w.squares": sequences * share * share,
        })

tensors, body = {}, b""


def add(name, dtype, shape, data):
    global body
    tensors[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
    body += data


def integers(values):
    return struct.pack(f"<{len(values)}q", *values)


add("count", "I64", [layers, experts], integers([c["count"] for c in cells]))
add("sequences", "I64", [layers, experts], integers([c["sequences"] for c in cells]))
add("max_norm", "F64", [layers, experts], struct.pack(f"<{len(cells)}d", *[c["max"] for c in cells]))
for name in sums:
    add(name, "I64", [layers, experts, 5], integers([limb for c in cells for limb in limbs(c[name])]))
numbers = list(range(3, 3 + layers))
metadata = {
    "format": "cull-observation", "version": "3", "layers": json.dumps(numbers), "experts": json.dumps([experts] * layers),
    "domains": "[]", "model_digest": "", "settings": "f32", "sequences": json.dumps([f"{i:032x}" for i in range(1, sequences + 1)]),
}


def field(data):
    return struct.pack("<Q", len(data)) + data


def checksum():
    """XXH128, by xxhsum, of all metadata and tensors in the order of their names, each field with its length (docs/formats.md)."""
    stream = b"".join(field(key.encode()) + field(metadata[key].encode()) for key in sorted(metadata))
    for name in sorted(tensors):
        info = tensors[name]
        begin, end = info["data_offsets"]
        stream += field(name.encode()) + field(info["dtype"].encode())
        stream += struct.pack(f"<{len(info['shape']) + 1}Q", len(info["shape"]), *info["shape"]) + field(body[begin:end])
    return subprocess.run(["xxhsum", "-H2", "-"], input=stream, capture_output=True, check=True).stdout.split()[0].decode()


metadata["checksum"] = checksum()
header = json.dumps({"__metadata__": metadata} | tensors).encode()
header += b" " * (-len(header) % 8)
with open(sys.argv[3], "wb") as out:
    out.write(struct.pack("<Q", len(header)) + header + body)
with open(sys.argv[4], "w") as out:
    def error(c):
        """Of a ratio of sums over sequences: Cochran, Sampling Techniques, 6.3."""
        if not c["sum_w"]:
            return 0.0
        ratio = c["sum_gf"] / c["sum_w"]
        spread = c["sum_gf.squares"] - 2 * ratio * c["sum_gf.times_w"] + ratio * ratio * c["sum_w.squares"]
        return math.sqrt(spread * sequences / (sequences - 1)) / c["sum_w"]

    rows = [cells[i * experts:(i + 1) * experts] for i in range(layers)]
    json.dump([{"layer": n, "scores": [c["sum_gf"] / c["sum_w"] if c["sum_w"] else 0.0 for c in row], "errors": [error(c) for c in row], "tokens": [c["count"] for c in row],
                "traffic": [c["sum_w"] for c in row], "mass": [c["sum_gf"] for c in row]} for n, row in zip(numbers, rows)], out)
