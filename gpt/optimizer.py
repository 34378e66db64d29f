"""AdamW with cautious weight decay, gradient clipping and skipped bad steps, without waiting for the device.

The gradient's norm, the clipping and the decision to skip stay on the device; torch's fused AdamW applies them in its
one pass. Knows parameters by name; the learning rate of each step comes from outside (`gpt.schedule`).
"""

import torch
from torch import Tensor, nn

from gpt.config import TrainingConfig

BAD_STEPS = 3  # so many bad gradients in a row mean that the run cannot go on like this


class Optimizer:
    """Updates a model's parameters from their gradients.

    Matrices shrink by rate x decay where the update already pulls them towards zero (cautious), as judged by the
    momentum after the step; gains, biases and position tables do not decay. A gradient that is not finite changes
    nothing, and is counted.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self.clip = config.clip
        self.parameters = dict(model.named_parameters())
        self.decaying = [
            name
            for name, p in self.parameters.items()
            if p.ndim == 2 and not name.endswith(("qk_gain", "positions.weight"))
        ]
        device = next(iter(self.parameters.values())).device
        self.adamw = torch.optim.AdamW(
            self.parameters.values(),
            lr=0.0,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=0.0,
            fused=True,
        )
        for parameter in self.parameters.values():
            self.adamw.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.skipped = torch.zeros((), device=device)  # bad gradients in all
        self.bad_in_a_row = torch.zeros((), device=device)

    def step(self, loss: Tensor, rate: float, weight_decay: float) -> Tensor:
        """Apply the gradients and clear them; returns the gradient's norm before clipping, a scalar on the device.

        loss          the step's loss, a detached scalar: if it is not finite the step is skipped as well
        rate          learning rate of this step
        weight_decay  decoupled: a decaying weight loses rate x weight_decay of itself
        """
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        bad = (~torch.isfinite(norm + loss)).float()
        self.skipped += bad
        stuck = self.bad_in_a_row >= BAD_STEPS  # kept until somebody looks, which on a GPU is not every step
        self.bad_in_a_row = torch.where(stuck, self.bad_in_a_row, (self.bad_in_a_row + 1) * bad)
        self.adamw.param_groups[0]["lr"] = rate
        self.adamw.grad_scale = torch.clamp(norm / self.clip, min=1.0)  # the fused kernel divides by it
        self.adamw.found_inf = bad  # and does nothing where this is 1
        self.adamw.step()
        if weight_decay:
            self._decay(rate * weight_decay * (1 - bad))
        self.adamw.zero_grad(set_to_none=True)
        return norm

    @torch.no_grad()
    def _decay(self, share: Tensor) -> None:
        weights = [self.parameters[name] for name in self.decaying]
        shares = torch._foreach_mul([self.adamw.state[p]["exp_avg"] for p in weights], weights)
        torch._foreach_sign_(shares)
        torch._foreach_clamp_min_(shares, 0.0)  # 1 where momentum and weight agree in sign, else 0
        torch._foreach_mul_(shares, share)
        torch._foreach_addcmul_(weights, weights, shares, value=-1.0)

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""
        named = {
            f"{key}.{name}": self.adamw.state[parameter][key]
            for name, parameter in self.parameters.items()
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
        return named | {"skipped": self.skipped, "bad_in_a_row": self.bad_in_a_row}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` returned, for the same parameters."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
