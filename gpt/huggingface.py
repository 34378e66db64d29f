"""Models in the form of Hugging Face `transformers`: writing ours so that it loads them unchanged, and reading GPT-2.

`gpt2` becomes a GPT2LMHeadModel, `modern` and `bigram` become a Qwen3ForCausalLM (without layers for `bigram`). What
ours has and theirs cannot express is folded away: padding rows are cut, fused matrices split, and the gain-free norm
after an untied embedding, which depends on the id alone, goes into the table. Knows no tokenizer: its files are written
by whoever knows them. The names and layouts are those of transformers' modeling_gpt2.py and modeling_qwen3.py.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gpt.config import ModelConfig, SamplingConfig
from gpt.errors import GPTError
from gpt.files import write_json
from gpt.gpt2_config import GPT2_COMPUTES, read_gpt2_config
from gpt.layers import EPSILON
from gpt.model import GPT
from gpt.tensorfiles import WEIGHTS_FILE, misfit, read_tensors, shapes_of

DType = Literal["float32", "bfloat16", "float16"]
VOCABULARY_TABLES = ("embedding.weight", "head.weight")
GPT2_NAMES = {  # ours, theirs
    "embedding.": "wte.",
    "positions.": "wpe.",
    "blocks.": "h.",
    "attention_norm.": "ln_1.",
    "attention.qkv.": "attn.c_attn.",
    "attention.out.": "attn.c_proj.",
    "feed_forward_norm.": "ln_2.",
    "feed_forward.up.": "mlp.c_fc.",
    "feed_forward.down.": "mlp.c_proj.",
    "final_norm.": "ln_f.",
}


def write_pretrained(
    folder: Path, config: ModelConfig, weights: dict[str, Tensor], eot_id: int, dtype: DType = "float32"
) -> None:
    """Write config.json, generation_config.json and model.safetensors into an existing folder.

    weights  state dict of a model with this resolved config, padding rows or not
    eot_id   id of the end-of-text mark, which begins and ends documents and pads batches
    dtype    of the written weights; raises GPTError when one of them is beyond its range

    Raises GPTError for a `masked` model, too.
    """
    if config.masked:
        raise GPTError(
            "model.objective is 'masked', but no class of transformers computes such a model (its BERT is built "
            "otherwise, its GPT-2 and Qwen3 see no later tokens): export a model trained with model.objective=causal."
        )
    kind = getattr(torch, dtype)
    theirs = _as_gpt2(config, weights) if config.preset == "gpt2" else _as_qwen3(config, weights)
    tensors = {name: tensor.to(kind).contiguous() for name, tensor in theirs.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            largest = float(theirs[name].abs().max())
            raise GPTError(f"{name} holds {largest:g}, which {dtype} cannot: export float32 or bfloat16.")
    special = {"bos_token_id": eot_id, "eos_token_id": eot_id, "pad_token_id": eot_id}
    described = _describe_gpt2(config) if config.preset == "gpt2" else _describe_qwen3(config)
    common = {"vocab_size": config.vocab_size, "tie_word_embeddings": config.tied, "use_cache": True}
    common |= {"dtype": dtype, "torch_dtype": dtype}  # the older name is what transformers 4 reads
    draws = SamplingConfig()
    sampling = {"do_sample": True, "temperature": draws.temperature, "top_k": draws.top_k, "top_p": draws.top_p}
    write_json(folder / "config.json", described | common | special)
    write_json(folder / "generation_config.json", sampling | special)
    try:
        save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    except SafetensorError as error:
        raise GPTError(f"Cannot write {folder / WEIGHTS_FILE}: {error}. Free space there, then export again.") from None
    shutil.copymode(folder / "config.json", folder / WEIGHTS_FILE)  # safetensors writes for the owner alone


def read_gpt2(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The resolved config (preset `gpt2` with biases) and our state dict (float32) of a folder with GPT-2's weights.

    The folder holds config.json and model.safetensors, or its shards and their index, of a GPT2LMHeadModel or a
    GPT2Model. Raises GPTError for another architecture and for weights that are missing, too many or of a wrong shape.
    """
    config = read_gpt2_config(folder)
    found = {
        name.removeprefix("transformer."): tensor
        for name, tensor in read_tensors(folder).items()
        if not name.endswith((".attn.bias", ".attn.masked_bias"))  # the causal mask, stored by older versions
    }
    head = found.pop("lm_head.weight", None)
    expected = {name: _gpt2_name(name) for name in shapes_of(config)}
    shapes = shapes_of(config) | {"embedding.weight": (config.vocab_size, config.width)}
    theirs = {expected[name]: shape[::-1] if _is_conv1d(name, len(shape)) else shape for name, shape in shapes.items()}
    problem = misfit(found, theirs)
    if not problem and head is not None and not torch.equal(head, found["wte.weight"]):
        problem = "lm_head.weight differs from wte.weight, but the two are one table in preset 'gpt2'"
    if problem:
        raise GPTError(f"{folder}: the weights are not those of the GPT-2 in config.json: {problem}.")
    weights = {name: found[expected[name]].float() for name in shapes}
    weights = {name: (w.T if _is_conv1d(name, w.ndim) else w).contiguous() for name, w in weights.items()}
    return config, pad_vocabulary(config, weights)


def load_gpt2(folder: Path) -> GPT:
    """GPT-2 from a folder that `read_gpt2` takes, on the CPU, ready to score or sample."""
    config, weights = read_gpt2(folder)
    model = GPT(config)
    model.load_state_dict(weights)
    return model.eval()


def pad_vocabulary(config: ModelConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with zero rows below those of the known ids, as the model wants them."""
    missing = config.padded_vocab - config.table_rows
    return {n: F.pad(t, (0, 0, 0, missing)) if n in VOCABULARY_TABLES else t for n, t in weights.items()}


def _as_gpt2(config: ModelConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = {}
    for name, shape in shapes_of(replace(config, bias=True)).items():
        tensor = weights[name].detach().float().cpu() if name in weights else torch.zeros(shape)
        if name in VOCABULARY_TABLES:
            tensor = tensor[: config.vocab_size]
        theirs["transformer." + _gpt2_name(name)] = tensor.T if _is_conv1d(name, tensor.ndim) else tensor
    return theirs


def _as_qwen3(config: ModelConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {name: tensor.detach().float().cpu() for name, tensor in weights.items()}
    table = ours["embedding.weight"][: config.vocab_size]
    theirs = {"model.norm.weight": ours["final_norm.weight"]}
    if not config.tied:
        table = F.rms_norm(table, (config.width,), None, EPSILON)
        theirs["lm_head.weight"] = ours["head.weight"][: config.vocab_size]
    theirs["model.embed_tokens.weight"] = table
    for layer in range(config.layers):
        at, block = f"model.layers.{layer}.", f"blocks.{layer}."
        qkv, gains = ours[block + "attention.qkv.weight"].chunk(3), ours[block + "attention.qk_gain"]
        gate, up = ours[block + "feed_forward.gate_up.weight"].chunk(2)
        theirs |= {f"{at}self_attn.{one}_proj.weight": part for one, part in zip("qkv", qkv, strict=True)}
        theirs |= {f"{at}self_attn.{one}_norm.weight": gain for one, gain in zip("qk", gains, strict=True)}
        theirs |= {
            at + "self_attn.o_proj.weight": ours[block + "attention.out.weight"],
            at + "mlp.gate_proj.weight": gate,
            at + "mlp.up_proj.weight": up,
            at + "mlp.down_proj.weight": ours[block + "feed_forward.down.weight"],
            at + "input_layernorm.weight": ours[block + "attention_norm.weight"],
            at + "post_attention_layernorm.weight": ours[block + "feed_forward_norm.weight"],
        }
    return theirs


def _describe_gpt2(config: ModelConfig) -> dict[str, Any]:
    dropped = dict.fromkeys(("embd_pdrop", "resid_pdrop"), config.dropout) | {"attn_pdrop": 0.0}
    return dropped | {name: values[0] for name, values in GPT2_COMPUTES.items()} | {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.feed_forward,
        "reorder_and_upcast_attn": False,
        "initializer_range": 0.02,
    }  # fmt: skip


def _describe_qwen3(config: ModelConfig) -> dict[str, Any]:
    heads = max(1, config.heads)  # without layers there are none, but the class wants a number
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": config.width,
        "intermediate_size": max(1, config.feed_forward),
        "num_hidden_layers": config.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": config.width // heads if config.layers else 2,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,  # where transformers 4 looks for it
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": config.layers,
        "layer_types": ["full_attention"] * config.layers,
        "initializer_range": 0.02,
    }


def _gpt2_name(ours: str) -> str:
    for part, theirs in GPT2_NAMES.items():
        ours = ours.replace(part, theirs)
    return ours


def _is_conv1d(ours: str, dimensions: int) -> bool:
    """Whether their layer keeps this weight transposed, inputs first."""
    return ours.startswith("blocks.") and dimensions == 2
