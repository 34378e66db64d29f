"""Muon: momentum whose singular values are all made 1 before it is applied, for the matrices of the blocks.

Method: Keller Jordan's (kellerjordan.github.io/posts/muon, github.com/KellerJordan/Muon) with Nesterov momentum and
steps that grow with sqrt(rows / columns) of tall matrices; decoupled weight decay as in arXiv 2502.16982, but only
where the update already pulls towards zero (arXiv 2510.12402). Matrices of one shape are computed together, on the CPU
in float32, where bfloat16 is slow, elsewhere in bfloat16. Where several processes train, each makes orthogonal a share
of the matrices and all get all results; the momenta, which cost little, are in each of them. Knows neither what the
gradients' norm is nor when a step is bad: `gpt.optimizer` says so with each step.
"""

import torch
from torch import Tensor, nn

from gpt.adamw import Moment
from gpt.groups import parts
from gpt.orthogonal import orthogonalise
from gpt.ranks import ALONE, Ranks


class Muon:
    """Updates named matrices; tensors that hold several (queries, keys, values) are updated one by one."""

    def __init__(self, parameters: dict[str, nn.Parameter], ranks: Ranks = ALONE) -> None:
        shapes: dict[tuple[int, int], dict[str, nn.Parameter]] = {}
        for name, parameter in parameters.items():
            rows, columns = parameter.shape
            shapes.setdefault((rows // parts(name), columns), {})[name] = parameter
        self.stacks = [Stack(shape, members, ranks) for shape, members in shapes.items()]

    def step(self, moment: Moment, rate: float, weight_decay: float, momentum: float) -> None:
        """Apply the matrices' gradients; `momentum` is the share of the earlier gradients, 0 to below 1."""
        for stack in self.stacks:
            stack.step(moment, rate, weight_decay, momentum)

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, each of its parameter's shape: it does not tell how matrices were stacked."""
        return {f"momentum.{name}": tensor for stack in self.stacks for name, tensor in stack.momenta().items()}


class Stack:
    """All matrices of one shape (rows, columns), and their momentum (count, rows, columns)."""

    def __init__(self, shape: tuple[int, int], parameters: dict[str, nn.Parameter], ranks: Ranks) -> None:
        self.shape, self.parameters, self.ranks = shape, parameters, ranks
        self.weights = [p.detach().view(-1, *shape) for p in parameters.values()]  # views: they change the weights
        self.counts = [len(weight) for weight in self.weights]
        self.momentum = torch.cat(self.weights).zero_()
        self.growth = max(1.0, shape[0] / shape[1]) ** 0.5

    def step(self, moment: Moment, rate: float, weight_decay: float, momentum: float) -> None:
        """As `Muon.step`."""
        gradients = torch.cat([p.grad.view(-1, *self.shape) for p in self.parameters.values() if p.grad is not None])
        gradients.div_(moment.divisor).nan_to_num_(0.0, 0.0, 0.0)  # what is not finite here comes with a bad step
        self.momentum.lerp_(gradients, (1 - momentum) * (1 - moment.bad))  # which leaves this bit by bit
        direction = gradients.lerp_(self.momentum, momentum)
        direction = direction.bfloat16() if direction.is_cuda else direction
        direction = self.ranks.map_stack(orthogonalise, direction).float().contiguous()
        updates = list(direction.split(self.counts))
        if weight_decay:
            kept = torch._foreach_mul(updates, self.weights)
            torch._foreach_sign_(kept)
            torch._foreach_clamp_min_(kept, 0.0)  # 1 where update and weight agree in sign, else 0
            torch._foreach_addcmul_(updates, kept, self.weights, value=weight_decay)
        share = rate * self.growth * (1 - moment.bad)  # 0 in a bad step
        for weight, update in zip(self.weights, updates, strict=True):
            weight.addcmul_(update, share, value=-1.0)

    def momenta(self) -> dict[str, Tensor]:
        """The momentum of each parameter, as views."""
        chunks = zip(self.parameters.items(), self.momentum.split(self.counts), strict=True)
        return {name: chunk.view(parameter.shape) for (name, parameter), chunk in chunks}
