# SPDX-License-Identifier: Apache-2.0
"""Makes this folder's answers with torch and transformers (5.24), in f32 from the stored bf16 values.

  python3 make.py        run in this folder; needs torch, transformers, safetensors

variants.safetensors: for each entry of variants.json, `NAME.ids` and `NAME.logits` of the family's fixture with changed config keys.
deepseek_v2_lite/, glm4_moe_mtp/: small random models with what no family fixture has: queries without a low rank and tied embeddings; an MTP layer.
"""
import copy
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeDecoderLayer, Glm4MoeRMSNorm

here = pathlib.Path(__file__).resolve().parent
families = here.parent / "families"
torch.manual_seed(20)


def forward(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().contiguous()


def make_variants():
    answers = {}
    for name, variant in json.loads((here / "variants.json").read_text()).items():
        source = families / variant["family"]
        config = AutoConfig.from_pretrained(source / "model")
        for key, value in variant["transformers"].items():
            setattr(config, key, value)
        model = AutoModelForCausalLM.from_pretrained(source / "model", config=config, dtype=torch.float32, attn_implementation="eager")
        ids = load_file(source / "oracle.safetensors")["ids"].flatten().tolist()[:64]
        answers[name + ".ids"] = torch.tensor(ids, dtype=torch.int32)
        answers[name + ".logits"] = forward(model.eval(), ids)
    save_file(answers, here / "variants.safetensors")


def random_weights(model):
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            noise = torch.randn_like(parameter)
            parameter.copy_(((1 + 0.2 * noise) if "norm" in name else noise * 0.3 / parameter.shape[-1] ** 0.5 * 3).bfloat16().float())


def save_model(model, folder):
    shutil.rmtree(folder, ignore_errors=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder / "model")
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)


def make_lite():
    config = AutoConfig.from_pretrained(families / "deepseek_v2" / "model")
    config.q_lora_rank, config.num_hidden_layers, config.hidden_size, config.n_routed_experts = None, 2, 32, 8
    config.tie_word_embeddings = True
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    random_weights(model)
    ids = torch.randint(0, config.vocab_size, (40,)).tolist()
    save_model(model, here / "deepseek_v2_lite")
    save_file({"ids": torch.tensor(ids, dtype=torch.int32), "logits": forward(model, ids)}, here / "deepseek_v2_lite" / "oracle.safetensors")


def make_mtp():
    """The MTP layer as GLM-4.5 and DeepSeek-V3 define it: eh_proj([enorm(embedding of the next id), hnorm(final-normed hidden)]), one
    decoder layer, shared_head.norm, the model's own head; position 0 has a zero embedding."""
    config = AutoConfig.from_pretrained(families / "glm4_moe" / "model")
    config.num_hidden_layers, config.hidden_size, config.n_routed_experts, config.use_qk_norm = 2, 32, 8, True
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    random_weights(model)
    layer = Glm4MoeDecoderLayer(config, config.num_hidden_layers).eval()
    parts = torch.nn.ModuleDict({"enorm": Glm4MoeRMSNorm(32, 1e-5), "hnorm": Glm4MoeRMSNorm(32, 1e-5), "norm": Glm4MoeRMSNorm(32, 1e-5)})
    parts["eh_proj"] = torch.nn.Linear(64, 32, bias=False)
    random_weights(parts)
    random_weights(layer)
    layer.mlp.gate.e_score_correction_bias.zero_()
    ids = torch.randint(0, config.vocab_size, (40,))
    with torch.no_grad():
        seen = model.model(ids[None]).last_hidden_state
        logits = model.lm_head(seen)[0]
        embedded = model.model.embed_tokens(ids[None, 1:])
        embedded[:, 0] = 0
        x = parts["eh_proj"](torch.cat([parts["enorm"](embedded), parts["hnorm"](seen[:, :-1])], dim=-1))
        positions = torch.arange(x.shape[1])[None]
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)[None, None]
        x = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=model.model.rotary_emb(x, positions))
        x = x[0] if isinstance(x, tuple) else x
        mtp = model.lm_head(parts["norm"](x))[0]
    folder = here / "glm4_moe_mtp"
    save_model(model, folder)
    number, prefix = config.num_hidden_layers, f"model.layers.{config.num_hidden_layers}."
    tensors = {}
    for name, value in layer.state_dict().items():
        if name == "mlp.experts.gate_up_proj":
            for e in range(value.shape[0]):
                gate, up = value[e].chunk(2)
                tensors[f"{prefix}mlp.experts.{e}.gate_proj.weight"], tensors[f"{prefix}mlp.experts.{e}.up_proj.weight"] = gate, up
        elif name == "mlp.experts.down_proj":
            for e in range(value.shape[0]):
                tensors[f"{prefix}mlp.experts.{e}.down_proj.weight"] = value[e]
        else:
            tensors[prefix + name] = value
    for name, value in parts.state_dict().items():
        tensors[prefix + name.replace("norm.weight", "shared_head.norm.weight") if name == "norm.weight" else prefix + name] = value
    tensors = {k: (v if "correction_bias" in k else v.bfloat16()).contiguous() for k, v in tensors.items()}
    save_file(tensors, folder / "model" / "mtp.safetensors", metadata={"format": "pt"})
    save_file({"ids": ids.int(), "logits": logits.contiguous(), "mtp_logits": mtp.contiguous()}, folder / "oracle.safetensors")


make_variants()
make_lite()
make_mtp()
