"""Loss scaling for float16, whose smallest numbers are too large for many gradients.

The loss is multiplied before the backward pass and the gradients are divided after it (Micikevicius et al., arXiv
1710.03740). The scale doubles after many good steps in a row. A step that overflows is done again at half the scale
rather than left out, so that what is not finite at a scale of 1 is the model's own fault and counts as a bad step.
That takes one look at the device per step, which cards without bfloat16 can bear.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

START = 2.0**16
LARGEST = 2.0**24
GROW_AFTER = 2000  # good steps in a row


class LossScale:
    """`scale` is a power of two in [1, 2^24]; `good` counts the steps since it last changed."""

    def __init__(self, scale: float = START) -> None:
        self.scale = scale
        self.good = 0

    @torch.no_grad()
    def unscale(self, gradients: Sequence[Tensor], loss: Tensor) -> bool:
        """Divide the gradients by the scale, in place; False if they overflowed, so that the pass must be done again.

        loss  the unscaled loss: if that is not finite, no scale can help
        """
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
        finite, sane = torch.stack((torch.isfinite(norm), torch.isfinite(loss))).tolist()
        if not finite and sane and self.scale > 1:
            self.scale, self.good = self.scale / 2, 0
            return False
        torch._foreach_div_(list(gradients), self.scale)
        self.good = self.good + 1 if finite else 0
        if self.good == GROW_AFTER and self.scale < LARGEST:
            self.scale, self.good = self.scale * 2, 0
        return True

    def numbers(self) -> dict[str, float]:
        """The state, for a checkpoint."""
        return {"scale": self.scale, "good": self.good}

    def restore(self, numbers: dict[str, float]) -> None:
        """Take over what `numbers` returned."""
        self.scale, self.good = numbers["scale"], int(numbers["good"])
