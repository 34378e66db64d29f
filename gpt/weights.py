"""A trained model as a folder: model.json (its resolved config) and model.safetensors (float32 weights).

The rows that pad the vocabulary in training are cut off when saving and are zero after loading.
"""

import dataclasses
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gpt.checkpoint import save_tensors
from gpt.config import ModelConfig
from gpt.errors import GPTError
from gpt.files import write_json
from gpt.jobfile import read_job
from gpt.model import GPT

VOCABULARY_TABLES = ("embedding.weight", "head.weight")


def save_model(folder: Path, config: ModelConfig, weights: dict[str, torch.Tensor]) -> None:
    """Write a model's state dict into an existing folder."""
    cut = {
        name: (tensor[: config.vocab_size] if name in VOCABULARY_TABLES else tensor).float()
        for name, tensor in weights.items()
    }
    save_tensors(folder / "model.safetensors", cut)
    write_json(folder / "model.json", dataclasses.asdict(config))


def load_model(folder: Path, device: torch.device | str = "cpu") -> GPT:
    """Read a model that `save_model` wrote, ready to score or sample. Raises GPTError when the folder does not fit."""
    config = read_job(ModelConfig, folder / "model.json")
    try:
        weights = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise GPTError(f"Cannot read {folder / 'model.safetensors'}: {error}. Train the model again.") from None
    missing = config.padded_vocab - config.vocab_size
    for name in VOCABULARY_TABLES:
        if name in weights:
            weights[name] = torch.nn.functional.pad(weights[name], (0, 0, 0, missing))
    model = GPT(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise GPTError(f"{folder}: model.safetensors does not fit model.json: {problem}.") from None
    return model.to(device).eval()
