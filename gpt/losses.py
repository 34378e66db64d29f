"""Cross-entropy over large vocabularies without ever holding the logits of a whole micro-batch.

The logits of some rows at a time are made, turned into their share of the loss and of the gradients, and dropped. As
the loss is a sum, its gradients are known up to one factor while the logits are still there, so nothing is computed
twice (the idea of Liger-Kernel's fused linear cross-entropy, arXiv 2410.10989). Knows tensors only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # a target that counts for nothing, as in torch's own cross-entropy
BYTES_PER_LOGIT = 4  # softmax is taken in float32
# torch 2.11 compiles the pieces to wrong gradients (zeros for the rows) and says nothing; 2.13 to the right ones
COMPILES = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)


def rows_at_once(rows: int, columns: int, most_bytes: float) -> int:
    """How many of `rows` rows of `columns` float32 logits fit into `most_bytes`, in even pieces, at least 1."""
    pieces = -(-rows * columns * BYTES_PER_LOGIT // max(1, int(most_bytes)))
    return max(1, -(-rows // pieces))


class PiecewiseLoss(torch.autograd.Function):
    """Sum over rows of -ln softmax(hidden x weight^T)[target]; the gradient of the rows is taken on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        """hidden (n, width), weight (columns, width), targets (n,) int64; `rows` rows of logits exist at once.

        Matrix products are done in the autocast type where autocast is on, everything else in float32.
        """
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        hidden_gradient = torch.empty_like(hidden) if wants_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        matrix = weight.to(dtype)
        with torch.autocast(device, enabled=False):
            for part, wanted, place in zip(
                hidden.split(rows), targets.split(rows), range(0, len(hidden), rows), strict=True
            ):
                part = part.to(dtype)
                logits = F.linear(part, matrix).float()
                counted = wanted != IGNORED
                column = wanted.clamp(min=0)[:, None]
                total = logits.logsumexp(-1, keepdim=True)
                loss += torch.where(counted, (total - logits.gather(1, column))[:, 0], 0).sum()
                if hidden_gradient is None and weight_gradient is None:
                    continue
                slope = logits.sub_(total).exp_()  # softmax, and minus one at the target: d loss / d logits
                slope.scatter_add_(1, column, torch.full_like(total, -1.0))
                slope = slope.mul_(counted[:, None]).to(dtype)
                if hidden_gradient is not None:
                    hidden_gradient[place : place + len(part)] = slope @ matrix
                if weight_gradient is not None:
                    weight_gradient += slope.t() @ part
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """`factor` is the gradient of whatever is made of the sum."""
        hidden, weight = ctx.saved_tensors
        return (
            None if hidden is None else hidden * factor.to(hidden.dtype),
            None if weight is None else (weight * factor).to(ctx.weight_dtype),
            None,
            None,
        )


_apply = PiecewiseLoss.apply if COMPILES else torch.compiler.disable(PiecewiseLoss.apply)


def piecewise_loss_sum(hidden: Tensor, weight: Tensor, targets: Tensor, most_bytes: float) -> Tensor:
    """Sum of -ln p(target) in nats as a float32 scalar; differentiable.

    hidden      (..., width), what goes into the output head
    weight      (columns, width), the output head
    targets     (...) int64; -100 counts for nothing
    most_bytes  of float32 logits to be held at once; the working memory is about twice that
    """
    flat = hidden.flatten(0, -2)
    rows = rows_at_once(len(flat), len(weight), most_bytes)
    loss: Tensor = _apply(flat, weight, targets.flatten(), rows)
    return loss
