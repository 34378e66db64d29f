"""The weights that a run can begin with, from the folder of an earlier model."""

from pathlib import Path

import torch

from gpt.weights import load_model


def starting_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of the model in `folder`, with the rows that pad the vocabulary in training, which are zero.

    Raises GPTError when the folder holds no model that can be read.
    """
    return load_model(folder).state_dict()
