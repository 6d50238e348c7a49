# SPDX-License-Identifier: Apache-2.0
# Gives every tensor of a checkpoint, by name, type and shape, to vLLM's own loader on the meta device: its model classes build their
# parameters from config.json and the quantisation config, its load_weights maps the names. No GPU and no weights; what only runs on a GPU
# (attention, kernels) is replaced by nothing. Reports each tensor that the loader does not find or know, and each parameter left without one.
# usage: loader_with_vllm.py MODEL      (needs vllm; VLLM_TARGET_DEVICE=cpu)
import glob
import json
import os
import struct
import sys

os.environ["VLLM_TARGET_DEVICE"] = "cpu"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.modules["cutlass"] = None  # kernels for a card that is not here; without a driver importing them fails in ways nobody catches
import torch  # noqa: E402
from torch import nn  # noqa: E402

import vllm  # noqa: E402
from vllm.config import set_current_vllm_config  # noqa: E402
from vllm.distributed import init_distributed_environment, initialize_model_parallel  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402

TYPES = {"U8": torch.uint8, "F8_E4M3": torch.float8_e4m3fn, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I32": torch.int32}


class Nothing(nn.Module):
    """Stands where a kernel would; has no parameters."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.__dict__.update(kwargs)


class NoKernel:
    """Answers what a layer asks of its kernel while it is built: with nothing."""

    def input_quant_key(self):
        return None


def tensors(folder):
    for path in sorted(glob.glob(f"{folder}/*.safetensors")):
        with open(path, "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        header.pop("__metadata__", None)
        for name, t in header.items():
            yield name, torch.empty(t["shape"], dtype=TYPES[t["dtype"]], device="meta")


def replace_kernels():
    import vllm.model_executor.layers.mla as mla
    import vllm.model_executor.layers.quantization.modelopt as modelopt
    import vllm.model_executor.models.deepseek_v2 as deepseek
    mla.MLAAttention = Nothing
    deepseek.SparseAttnIndexer = Nothing
    deepseek.DeepseekV32IndexerCache = Nothing
    modelopt.init_nvfp4_linear_kernel = lambda *a, **k: NoKernel()
    # Which kernel multiplies is a question for the card; names and shapes of parameters do not depend on it.
    for name in ("select_nvfp4_moe_backend",):
        if hasattr(modelopt, name):
            original = getattr(modelopt, name)
            setattr(modelopt, name, lambda *a, _o=original, **k: first_backend(_o, *a, **k))


def first_backend(original, *arguments, **named):
    try:
        return original(*arguments, **named)
    except Exception:
        from vllm.model_executor.layers.fused_moe.oracle.nvfp4 import NvFp4MoeBackend
        return list(NvFp4MoeBackend)[0], None


def build(folder, architecture, config, prefix=""):
    with set_current_vllm_config(config), torch.device("meta"):
        return architecture(vllm_config=config, prefix=prefix)


def feed(model, config, items, shared=False):
    """What the loader says to each tensor; the names of parameters that got something."""
    problems, loaded, unused = [], set(), []
    with set_current_vllm_config(config):
        for name, tensor in items:
            try:
                got = model.load_weights([(name, tensor)])
                loaded |= set(got or ())
                if not got:
                    unused.append(name)
            except Exception as problem:
                problems.append(f"{name}: {type(problem).__name__}: {problem}")
    # The draft's embedding and head are the model's own, which the runner puts there; GLM stores them once.
    missing = [name for name, _ in model.named_parameters() if name not in loaded and not (shared and (".shared_head.head." in name or "embed_tokens" in name))]
    return problems, unused, missing


def main(folder):
    from vllm.model_executor.models.deepseek_mtp import DeepSeekMTP
    from vllm.model_executor.models.deepseek_v2 import GlmMoeDsaForCausalLM
    replace_kernels()
    config = EngineArgs(model=folder, skip_tokenizer_init=True, enforce_eager=True, dtype="bfloat16", load_format="dummy", max_model_len=512).create_engine_config()
    init_distributed_environment(world_size=1, rank=0, local_rank=0, distributed_init_method="tcp://127.0.0.1:29611", backend="gloo")
    with set_current_vllm_config(config):
        initialize_model_parallel(1, 1)
    hf = config.model_config.hf_config
    items = list(tensors(folder))
    draft_prefixes = tuple(f"model.layers.{hf.num_hidden_layers + i}." for i in range(getattr(hf, "num_nextn_predict_layers", 0) or 0))
    body = [i for i in items if not i[0].startswith(draft_prefixes)] if draft_prefixes else items
    print(f"vLLM {vllm.__version__}: {len(items)} tensors, {hf.n_routed_experts} experts, quantisation {type(config.quant_config).__name__}")
    failed = report("model", *feed(build(folder, GlmMoeDsaForCausalLM, config), config, body))
    if draft_prefixes:
        config.speculative_config = type("draft", (), {"draft_model_config": config.model_config, "method": "mtp", "num_speculative_tokens": 1})()
        draft = [i for i in items if i[0].startswith(draft_prefixes)]
        failed += report("MTP layer", *feed(build(folder, DeepSeekMTP, config), config, draft, shared=True))
    return 1 if failed else 0


def report(what, problems, unused, missing):
    for kind, names in (("not loaded", problems), ("not used", unused), ("parameter without a tensor", missing)):
        for name in names[:20]:
            print(f"{what}: {kind}: {name}")
    print(f"{what}: {len(problems)} tensors not loaded, {len(unused)} not used, {len(missing)} parameters without a tensor")
    return len(problems) + len(unused) + len(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
