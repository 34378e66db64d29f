"""AdamW with cautious weight decay, gradient clipping and skipped bad steps, without waiting for the device.

The gradient's norm, the clipping and the decision to skip stay on the device; torch's fused AdamW applies them in its
one pass. Knows parameters by name; the learning rate of each step comes from outside (`gpt.schedule`).
"""

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw  # the function: torch's class imports its compiler, which takes a second

from gpt.config import TrainingConfig

BAD_STEPS = 3  # so many bad gradients in a row mean that the run cannot go on like this
NEVER_DECAYING = ("qk_gain", "positions.weight")


class Optimizer:
    """Updates a model's parameters from their gradients.

    Matrices shrink by rate x decay where the update already pulls them towards zero (cautious), as judged by the
    momentum after the step; gains, biases and position tables do not decay. A gradient that is not finite changes
    nothing, and is counted.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self.config = config
        self.parameters = dict(model.named_parameters())
        self.decaying = [n for n, p in self.parameters.items() if p.ndim == 2 and not n.endswith(NEVER_DECAYING)]
        device = next(iter(self.parameters.values())).device
        self.momenta = {name: torch.zeros_like(p, requires_grad=False) for name, p in self.parameters.items()}
        self.squares = {name: torch.zeros_like(p, requires_grad=False) for name, p in self.parameters.items()}
        self.steps = {name: torch.zeros((), device=device) for name in self.parameters}  # good ones, for AdamW
        self.skipped = torch.zeros((), device=device)  # bad gradients in all
        self.bad_in_a_row = torch.zeros((), device=device)

    @torch.no_grad()
    def step(self, loss: Tensor, rate: float, weight_decay: float) -> Tensor:
        """Apply the gradients and clear them; returns the gradient's norm before clipping, a scalar on the device.

        loss          the step's loss, a detached scalar: if it is not finite the step is skipped as well
        rate          learning rate of this step
        weight_decay  decoupled: a decaying weight loses rate x weight_decay of itself
        """
        gradients = [p.grad for p in self.parameters.values()]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        bad = (~torch.isfinite(norm + loss)).float()
        self.skipped += bad
        stuck = self.bad_in_a_row >= BAD_STEPS  # kept until somebody looks, which on a GPU is not every step
        self.bad_in_a_row = torch.where(stuck, self.bad_in_a_row, (self.bad_in_a_row + 1) * bad)
        adamw(
            list(self.parameters.values()),
            gradients,
            list(self.momenta.values()),
            list(self.squares.values()),
            [],
            list(self.steps.values()),
            fused=True,
            grad_scale=torch.clamp(norm / self.config.clip, min=1.0),  # the kernel divides the gradients by it
            found_inf=bad,  # and does nothing where this is 1
            amsgrad=False,
            beta1=self.config.beta1,
            beta2=self.config.beta2,
            lr=rate,
            weight_decay=0.0,
            eps=self.config.epsilon,
            maximize=False,
        )
        if weight_decay:
            self._decay(rate * weight_decay * (1 - bad))
        for parameter in self.parameters.values():
            parameter.grad = None
        return norm

    def _decay(self, share: Tensor) -> None:
        weights = [self.parameters[name] for name in self.decaying]
        shares = torch._foreach_mul([self.momenta[name] for name in self.decaying], weights)
        torch._foreach_sign_(shares)
        torch._foreach_clamp_min_(shares, 0.0)  # 1 where momentum and weight agree in sign, else 0
        torch._foreach_mul_(shares, share)
        torch._foreach_addcmul_(weights, weights, shares, value=-1.0)

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""
        kinds = {"momentum": self.momenta, "square": self.squares, "steps": self.steps}
        named = {f"{kind}.{name}": tensor for kind, part in kinds.items() for name, tensor in part.items()}
        return named | {"skipped": self.skipped, "bad_in_a_row": self.bad_in_a_row}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` returned, for the same parameters."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
