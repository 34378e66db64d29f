"""A moving average of the weights: smoother than the weights themselves, and better where text is repeated often.

(github.com/qlabs-eng/slowrun; the same idea as Polyak and Juditsky's averaging, 1992, that forgets.) Knows a model and
nothing of its training; the trainer scores both and keeps the better.
"""

import copy

import torch
from torch import Tensor, nn


class Average:
    """`model` holds the average of the weights of `source`, after each of whose updates `update` is called."""

    def __init__(self, source: nn.Module, left_after_epoch: float, steps_per_epoch: float) -> None:
        """left_after_epoch is the share that an old average still has after an epoch, above 0 and below 1."""
        self.source = source
        self.model = copy.deepcopy(source).eval().requires_grad_(False)
        self.decay = left_after_epoch ** (1 / max(1.0, steps_per_epoch))
        self._averages, self._weights = list(self.model.parameters()), list(source.parameters())
        self.start_over()

    @torch.no_grad()
    def start_over(self) -> None:
        """The average is the weights as they are."""
        torch._foreach_copy_(self._averages, self._weights)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights."""
        torch._foreach_lerp_(self._averages, self._weights, 1 - self.decay)

    def tensors(self) -> dict[str, Tensor]:
        """The average as named tensors, for a checkpoint."""
        return self.model.state_dict()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` returned."""
        self.model.load_state_dict(tensors)
