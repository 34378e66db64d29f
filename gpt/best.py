"""The weights that are kept: those with the lowest validation loss so far, raw or averaged. Knows no files."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpt.model import GPT


class Score(NamedTuple):
    """What a model comes to: nats per token, bits per byte, and of a masked one the share of tokens guessed right."""

    loss: float
    bits_per_byte: float
    masked_accuracy: float | None = None


class Best:
    """`weights` as a state dict; `record` says of which step, with which loss, and whether "raw" or "average"."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """No validation has been done."""
        self.weights: dict[str, Tensor] = {}
        self.record: dict[str, Any] = {"best_step": None, "best_loss": None, "best_weights": None}

    def hear(self, step: int, models: Mapping[str, GPT], scores: Mapping[str, Score]) -> bool:
        """Take over the best of `models` if it is better than all before; returns whether it was."""
        name = min(scores, key=lambda one: _rank(scores[one]))
        loss = scores[name].loss
        if not math.isfinite(loss):
            if not self.weights:
                self.take(step, name, None, models[name])  # until there is one that can be scored
            return False
        if self.record["best_loss"] is not None and loss >= self.record["best_loss"]:
            return False
        self.take(step, name, loss, models[name])
        return True

    def take(self, step: int, name: str, loss: float | None, model: GPT) -> None:
        """Keep the weights of a model."""
        self.record = {"best_step": step, "best_loss": loss, "best_weights": name}
        self.weights = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}

    def restore(self, weights: Mapping[str, Tensor], state: Mapping[str, Any], device: torch.device) -> None:
        """Take over what a checkpoint kept."""
        self.weights = {name: tensor.to(device) for name, tensor in weights.items()}
        self.record = {key: state.get(key) for key in self.record}


def describe_scores(scores: Mapping[str, Score]) -> dict[str, Any]:
    """The entries of a line of metrics: the best of the scores, whose it is, and where there are several, each."""
    kept = min(scores, key=lambda one: _rank(scores[one]))
    each = {f"{name}_loss": _finite(score.loss) for name, score in scores.items()} if len(scores) > 1 else {}
    return describe_score(scores[kept]) | {"weights": kept} | each


def describe_score(score: Score | None) -> dict[str, float | None]:
    """The entries of one score, of which a causal model has two; None: nothing was scored."""
    if score is None:
        return {"val_loss": None, "val_bpb": None}
    guessed = {} if score.masked_accuracy is None else {"masked_accuracy": score.masked_accuracy}
    return {"val_loss": _finite(score.loss), "val_bpb": _finite(score.bits_per_byte), **guessed}


def _rank(score: Score) -> float:
    """The loss; one that is no number is worse than all others."""
    return score.loss if math.isfinite(score.loss) else math.inf


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
