# SPDX-License-Identifier: Apache-2.0
"""Runs transformers' own GLM in f32 over a checkpoint's dequantised weights; compares its logits with those cull wrote."""
import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig
from transformers.models.glm_moe_dsa.modeling_glm_moe_dsa import GlmMoeDsaForCausalLM

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float32)


def stored_weights(folder):
    raw = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        raw.update(load_file(str(file)))
    weights = {}
    for name, value in raw.items():
        if name.endswith((".weight_scale", ".weight_scale_2", ".input_scale")):
            continue
        if value.dtype == torch.uint8:
            codes = torch.stack([value & 15, value >> 4], dim=-1).reshape(value.shape[0], -1)
            scale = raw[name + "_scale"].to(torch.float32) * raw[name + "_scale_2"]
            value = E2M1[codes.long()] * scale.repeat_interleave(16, dim=1)
        weights[name] = value.to(torch.float32)
    return weights


def fused(weights, layers):
    """Experts as transformers holds them in memory: gate_up_proj [E, 2I, H], down_proj [E, H, I]."""
    out, experts = {}, {}
    for name, value in weights.items():
        found = re.match(r"(model\.layers\.(\d+)\.mlp\.experts)\.(\d+)\.(\w+)_proj\.weight$", name)
        if found and int(found[2]) < layers:
            experts.setdefault(found[1], {})[int(found[3]), found[4]] = value
        elif not re.match(rf"model\.layers\.{layers}\.", name):
            out[name] = value
    for prefix, parts in experts.items():
        count = 1 + max(e for e, _ in parts)
        out[prefix + ".gate_up_proj"] = torch.stack([torch.cat([parts[e, "gate"], parts[e, "up"]]) for e in range(count)])
        out[prefix + ".down_proj"] = torch.stack([parts[e, "down"] for e in range(count)])
    return out


folder, sequences, logits_file = sys.argv[1:]
config = AutoConfig.from_pretrained(folder)
config._attn_implementation = "eager"
if hasattr(config, "quantization_config"):
    del config.quantization_config
model = GlmMoeDsaForCausalLM(config).to(torch.float32).eval()
missing, unexpected = model.load_state_dict(fused(stored_weights(folder), config.num_hidden_layers), strict=False)
assert not unexpected, unexpected[:5]
assert not [m for m in missing if "rotary" not in m], missing[:5]

ours = load_file(logits_file)
worst = 0.0
for number, line in enumerate(Path(sequences).read_text().splitlines()):
    ids = torch.tensor([json.loads(line)["ids"]])
    with torch.no_grad():
        theirs = model(ids, use_cache=False).logits[0].double()
    mine = ours[f"logits.{number}"].double()
    worst = max(worst, ((mine - theirs).norm() / theirs.norm()).item())
print(f"{folder}: {config.n_routed_experts} experts, {number + 1} sequences, largest relative L2 difference of logits {worst:.2e}")
assert worst <= 1e-6
