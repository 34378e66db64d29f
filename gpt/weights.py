"""A trained model as a folder: model.json (its resolved config) and model.safetensors (float32 weights).

The rows that pad the vocabulary in training are cut off when saving and are zero after loading. Where a model is read,
a folder with GPT-2's weights in Hugging Face's form will do as well.
"""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from gpt.checkpoint import save_tensors
from gpt.config import ModelConfig
from gpt.errors import GPTError
from gpt.files import write_json
from gpt.huggingface import VOCABULARY_TABLES, pad_vocabulary, read_gpt2
from gpt.jobfile import read_job
from gpt.model import GPT
from gpt.tensorfiles import WEIGHTS_FILE, misfit, read_tensors, shapes_of

CONFIG_FILE = "model.json"


def save_model(folder: Path, config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """Write a model's state dict into an existing folder."""
    cut = {
        name: (tensor[: config.table_rows] if name in VOCABULARY_TABLES else tensor).float()
        for name, tensor in weights.items()
    }
    save_tensors(folder / WEIGHTS_FILE, cut)
    write_json(folder / CONFIG_FILE, dataclasses.asdict(config))


def read_starting_weights(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The resolved config and the state dict (float32, padding rows zero) of a model, ready for `GPT(config)`.

    Takes a folder that `save_model` wrote, or one with GPT-2's weights (`gpt.huggingface.read_gpt2`). Raises GPTError
    for anything else, naming what was found and what is supported.
    """
    if (folder / CONFIG_FILE).exists():
        return _read_own(folder)
    if (folder / "config.json").exists():
        return read_gpt2(folder)
    problem = "holds neither" if folder.is_dir() else "is no folder, so it holds neither"
    raise GPTError(
        f"{folder} {problem} {CONFIG_FILE} (a model of this trainer) nor config.json (GPT-2 in Hugging Face's form): "
        f"name the folder of a model."
    )


def load_model(folder: Path, device: torch.device | str = "cpu") -> GPT:
    """The model in a folder that `read_starting_weights` takes, ready to score or sample; raises the same GPTError."""
    config, weights = read_starting_weights(folder)
    model = GPT(config)
    model.load_state_dict(weights)
    return model.to(device).eval()


def _read_own(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    config = read_job(ModelConfig, folder / CONFIG_FILE)
    open_fields = [name for name, value in vars(config).items() if value is None]
    if open_fields:
        raise GPTError(f"{folder / CONFIG_FILE} leaves {', '.join(open_fields)} open: train the model again.")
    weights = pad_vocabulary(config, read_tensors(folder))
    if problem := misfit(weights, shapes_of(config)):
        raise GPTError(f"{folder}: {WEIGHTS_FILE} does not fit {CONFIG_FILE}: {problem}. Train the model again.")
    return config, weights
