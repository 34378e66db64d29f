"""Reading a model's safetensors, whole or in shards, and saying what does not fit. Knows no architecture."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gpt.config import ModelConfig
from gpt.errors import GPTError
from gpt.jobfile import read_json
from gpt.model import GPT

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"  # of Hugging Face: which shard holds which tensor
SHOWN = 3  # names listed of each kind of misfit

Shape = tuple[int, ...]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder: of model.safetensors, or else of the shards that its index names.

    Raises GPTError when a file is absent or damaged, or when a shard lacks what the index says.
    """
    if (folder / WEIGHTS_FILE).exists() or not (folder / INDEX_FILE).exists():
        return _read_file(folder / WEIGHTS_FILE)
    index = read_json(folder / INDEX_FILE)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise GPTError(f"{folder / INDEX_FILE} has no weight_map of tensor to file: download the folder again.")
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise GPTError(f"{folder / INDEX_FILE} names the shard {file!r}, but shards lie in the folder itself.")
        tensors |= _read_file(folder / file)
    if missing := sorted(places.keys() - tensors.keys()):
        raise GPTError(f"{folder}: the shards lack {_some(missing)} of {INDEX_FILE}: download the folder again.")
    return tensors


def shapes_of(config: ModelConfig) -> dict[str, Shape]:
    """Name and shape of every weight of a model with this resolved config; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in GPT(config).state_dict().items()}


def misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, Shape]) -> str:
    """How tensors differ from the expected names and shapes, in a few words; empty when they fit."""
    problems = []
    if missing := [name for name in expected if name not in tensors]:
        problems.append(f"missing {_some(missing)}")
    if unexpected := [name for name in tensors if name not in expected]:
        problems.append(f"unexpected {_some(unexpected)}")
    problems += [
        f"{name} is {_shape(tensors[name].shape)}, but the config gives {_shape(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ][:SHOWN]
    problems += [
        f"{name} holds {str(tensors[name].dtype).removeprefix('torch.')}, which is no plain floating-point weight"
        for name in expected
        if name in tensors and not tensors[name].dtype.is_floating_point
    ][:SHOWN]
    return "; ".join(problems)


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise GPTError(f"Cannot read {path}: {error}. Train or download the model again.") from None
    return tensors


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _shape(shape: Shape) -> str:
    return " x ".join(map(str, shape))
