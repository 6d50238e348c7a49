# SPDX-License-Identifier: Apache-2.0
"""Reads a pruned checkpoint and an observation with the safetensors package; compares the checkpoint with its source."""
import json
import re
import sys
from pathlib import Path

import safetensors


def tensors(folder):
    """name -> (dtype, shape, bytes) of every shard, by the package's own deserializer."""
    found = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        for name, view in safetensors.deserialize(file.read_bytes()):
            assert name not in found, f"{name} is in two shards"
            found[name] = (view["dtype"], list(view["shape"]), bytes(view["data"]))
    return found


source_dir, plan_file, pruned_dir, observation_file = sys.argv[1:]
plan = json.loads(Path(plan_file).read_text())["layers"]
source, pruned = tensors(source_dir), tensors(pruned_dir)

expected = {}
for name, (dtype, shape, data) in source.items():
    expert = re.match(r"model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(.*)$", name)
    router = re.match(r"model\.layers\.(\d+)\.mlp\.gate\.(weight|e_score_correction_bias)$", name)
    if expert:
        kept = plan[expert[1]]
        if int(expert[2]) in kept:
            number = kept.index(int(expert[2]))
            expected[f"model.layers.{expert[1]}.mlp.experts.{number}.{expert[3]}"] = (dtype, shape, data)
    elif router:
        kept = plan[router[1]]
        row = len(data) // shape[0]
        expected[name] = (dtype, [len(kept)] + shape[1:], b"".join(data[k * row : (k + 1) * row] for k in kept))
    else:
        expected[name] = (dtype, shape, data)

assert expected.keys() == pruned.keys(), sorted(expected.keys() ^ pruned.keys())[:5]
for name, value in expected.items():
    assert pruned[name] == value, f"{name} differs"
weight_map = json.loads((Path(pruned_dir) / "model.safetensors.index.json").read_text())["weight_map"]
assert weight_map.keys() == pruned.keys()
observation = safetensors.deserialize(Path(observation_file).read_bytes())
assert any(name == "count" for name, _ in observation)
print(f"safetensors {safetensors.__version__}: {len(pruned)} tensors of the pruned checkpoint equal the source's, "
      f"{len(observation)} tensors of the observation read")
