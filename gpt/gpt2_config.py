"""Reading config.json of a GPT-2 in the form of Hugging Face `transformers`. Imports no torch."""

from pathlib import Path
from typing import Any

from gpt.config import ModelConfig
from gpt.errors import GPTError
from gpt.jobfile import read_json
from gpt.plan import rope_theta_for

CONFIG_FILE = "config.json"
GPT2_SIZES = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}  # where left out
GPT2_COMPUTES: dict[str, tuple[Any, ...]] = {  # settings that change what is computed; the first is the default
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


def read_gpt2_config(folder: Path) -> ModelConfig:
    """The resolved config, preset `gpt2` with biases. Raises GPTError for what our GPT-2 does not compute."""
    path = folder / CONFIG_FILE
    theirs = read_json(path)
    kind = theirs.get("model_type") if isinstance(theirs, dict) else None
    if kind != "gpt2":
        raise GPTError(
            f"{path} describes a model of type {kind!r}, but only 'gpt2' can be read (and this trainer's own folders "
            f"with model.json): name a folder with GPT-2's weights."
        )
    for name, supported in GPT2_COMPUTES.items():
        if theirs.get(name, supported[0]) not in supported:
            raise GPTError(f"{path}: {name} is {theirs[name]!r}, but preset 'gpt2' computes {supported[0]!r} only.")
    sizes = {name: theirs.get(name, size) for name, size in GPT2_SIZES.items()}
    sizes["n_inner"] = theirs.get("n_inner") or 4 * sizes["n_embd"]
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise GPTError(f"{path}: {name} is {size!r}, but it must be a whole number above 0.")
    try:
        return ModelConfig(
            preset="gpt2",
            layers=sizes["n_layer"],
            width=sizes["n_embd"],
            heads=sizes["n_head"],
            feed_forward=sizes["n_inner"],
            context=sizes["n_positions"],
            dropout=0.0,
            bias=True,
            tied=True,
            rope_theta=rope_theta_for(sizes["n_positions"]),
            vocab_size=sizes["vocab_size"],
        )
    except ValueError as error:
        raise GPTError(f"{path}: {error}") from None
