"""AdamW for named parameters: torch's fused kernel, and weight decay that only helps where the update already pulls.

Knows neither what the gradients' norm is nor when a step is bad: `gpt.optimizer` says so with each step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw  # the function: torch's class imports its compiler, which takes a second

from gpt.config import TrainingConfig


@dataclass(frozen=True)
class Moment:
    """What a step knows of all gradients, as scalars on the device.

    divisor  by which gradients are divided to keep within the clipping norm, at least 1
    bad      1.0 when the step must change nothing, else 0.0
    """

    divisor: Tensor
    bad: Tensor


class AdamW:
    """Updates parameters, those of one learning rate together.

    groups    (parameters by name, share of the step's rate) of each group
    decaying  names of the parameters that shrink by rate x decay, where the momentum after the step has their sign
              (cautious weight decay, arXiv 2510.12402)
    """

    def __init__(
        self, groups: list[tuple[dict[str, nn.Parameter], float]], decaying: set[str], config: TrainingConfig
    ) -> None:
        self.config = config
        self.parameters = {name: p for parameters, _ in groups for name, p in parameters.items()}
        self.names_at: dict[float, list[str]] = {}  # by share of the rate, so that equal ones take one call
        for parameters, share in groups:
            self.names_at.setdefault(share, []).extend(parameters)
        self.decaying = decaying
        self.momenta = {name: torch.zeros_like(p, requires_grad=False) for name, p in self.parameters.items()}
        self.squares = {name: torch.zeros_like(p, requires_grad=False) for name, p in self.parameters.items()}
        self.steps = {name: torch.zeros((), device=p.device) for name, p in self.parameters.items()}  # good ones

    def step(self, moment: Moment, rate: float, weight_decay: float) -> None:
        """Apply the parameters' gradients; `rate` is multiplied by each group's share."""
        for share, names in self.names_at.items():
            if not names:
                continue
            adamw(
                [self.parameters[name] for name in names],
                [self.parameters[name].grad for name in names],
                [self.momenta[name] for name in names],
                [self.squares[name] for name in names],
                [],
                [self.steps[name] for name in names],
                fused=True,
                grad_scale=moment.divisor,  # the kernel divides the gradients by it
                found_inf=moment.bad,  # and does nothing where this is 1
                amsgrad=False,
                beta1=self.config.beta1,
                beta2=self.config.beta2,
                lr=rate * share,
                weight_decay=0.0,
                eps=self.config.epsilon,
                maximize=False,
            )
            decaying = [name for name in names if name in self.decaying]
            if weight_decay and decaying:
                self._decay(decaying, rate * share * weight_decay * (1 - moment.bad))

    def _decay(self, names: list[str], share: Tensor) -> None:
        if share.device.type == "cpu":  # one by one, so that what a processor's cache holds is used at once
            for name in names:
                self._decay_together([name], share)
        else:
            self._decay_together(names, share)

    def _decay_together(self, names: list[str], share: Tensor) -> None:
        weights = [self.parameters[name] for name in names]
        shares = torch._foreach_mul([self.momenta[name] for name in names], weights)
        torch._foreach_sign_(shares)
        torch._foreach_clamp_min_(shares, 0.0)  # 1 where momentum and weight agree in sign, else 0
        torch._foreach_mul_(shares, share)
        torch._foreach_addcmul_(weights, weights, shares, value=-1.0)

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors."""
        kinds = {"momentum": self.momenta, "square": self.squares, "steps": self.steps}
        return {f"{kind}.{name}": tensor for kind, held in kinds.items() for name, tensor in held.items()}
