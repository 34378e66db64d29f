"""One step of all parameters: gradient clipping and skipped bad steps, around Muon and AdamW.

The gradient's norm, the clipping and the decision to skip stay on the device, so that nobody waits for it. Learning
rate, weight decay and momentum of each step come from outside (`gpt.schedule`).
"""

import torch
from torch import Tensor, nn

from gpt.adamw import AdamW, Moment
from gpt.config import TrainingConfig
from gpt.groups import group
from gpt.muon import Muon
from gpt.ranks import ALONE, Ranks

BAD_STEPS = 3  # so many bad gradients in a row mean that the run cannot go on like this


class Optimizer:
    """Updates a model's parameters from their gradients.

    With `muon` the matrices of the blocks are Muon's, and nothing else decays; with `adamw` all parameters are AdamW's
    and all matrices apart from positions decay. A gradient that is not finite changes nothing, and is counted.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, ranks: Ranks = ALONE) -> None:
        """`ranks` share Muon's work, each with the same gradients."""
        self.config = config
        self.parameters = dict(model.named_parameters())
        groups = group(self.parameters.items(), config.optimizer)
        peak = config.learning_rate
        rates = [
            (groups.matrices, peak),
            (groups.embeddings, config.embedding_rate),
            (groups.heads, config.head_rate),
            (groups.gains, config.gain_rate),
        ]
        tables = {name for name in {**groups.embeddings, **groups.heads} if not name.startswith("positions.")}
        decaying = {*groups.matrices, *tables} if config.optimizer == "adamw" else set()
        self.muon = Muon(groups.muon, ranks)
        self.adamw = AdamW([(members, rate / peak) for members, rate in rates], decaying, config)
        device = next(iter(self.parameters.values())).device
        self.skipped = torch.zeros((), device=device)  # bad gradients in all
        self.bad_in_a_row = torch.zeros((), device=device)

    @torch.no_grad()
    def step(self, loss: Tensor, rate: float, weight_decay: float, momentum: float = 0.95) -> Tensor:
        """Apply the gradients and clear them; returns the gradient's norm before clipping, a scalar on the device.

        loss          the step's loss, a detached scalar: if it is not finite the step is skipped as well
        rate          learning rate of this step where config.learning_rate is the peak; the others are in proportion
        weight_decay  decoupled: a decaying weight loses rate x weight_decay of itself
        momentum      Muon's
        """
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([p.grad for p in self.parameters.values()])))
        bad = (~torch.isfinite(norm + loss)).float()
        self.skipped += bad
        stuck = self.bad_in_a_row >= BAD_STEPS  # kept until somebody looks, which on a GPU is not every step
        self.bad_in_a_row = torch.where(stuck, self.bad_in_a_row, (self.bad_in_a_row + 1) * bad)
        moment = Moment(torch.clamp(norm / self.config.clip, min=1.0), bad)
        self.adamw.step(moment, rate, weight_decay)
        self.muon.step(moment, rate, weight_decay, momentum)
        for parameter in self.parameters.values():
            parameter.grad = None
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""
        counters = {"skipped": self.skipped, "bad_in_a_row": self.bad_in_a_row}
        return self.adamw.tensors() | self.muon.tensors() | counters

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` returned, for the same parameters."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
