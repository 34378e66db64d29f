"""How several processes train one model: the first one is the trainer, the others do what it says.

Before every update the first process gives an order. So it alone knows of checkpoints, validation, bad steps and
requests to stop: it does its own work while the others wait for the next order. Whoever of them is asked to stop tells
the first process, in the answer that every order gets.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from gpt.errors import GPTError
from gpt.learner import Learner
from gpt.ranks import Ranks
from gpt.stop import Stop

UPDATE, TAKE_OVER, LEAVE = 1, 2, 3


class Leader:
    """The first process's side; alone it gives no orders."""

    def __init__(self, ranks: Ranks, stop: Stop) -> None:
        self.ranks, self.stop = ranks, stop
        self.shared: int | None = None  # the learner's `edits` when the others last took over its state

    def before_update(self, learner: Learner) -> None:
        """Have the others do the update that follows here, from the same state. Raises GPTError when one is gone."""
        if self.ranks.count == 1:
            return
        if self.shared != learner.edits:
            self._order(TAKE_OVER)
            give_state(self.ranks, learner)
            self.shared = learner.edits
        self._order(UPDATE)
        self.ranks.in_update = True

    def after_update(self) -> None:
        """The update that was ordered is done."""
        self.ranks.in_update = False

    def _order(self, order: int) -> None:
        *_, asked = self.ranks.largest([order, 0, 0])
        if asked and self.stop.reason is None:
            self.stop.reason = "another process of this run was asked to stop"


def dismiss(ranks: Ranks, code: int) -> None:
    """Let the others leave with this exit code; those that cannot be reached any more have left.

    In the middle of an update they wait for no order: they see that this process is gone once it has ended.
    """
    if ranks.in_update:
        return
    with contextlib.suppress(GPTError):
        ranks.largest([LEAVE, code, 0])


def follow(ranks: Ranks, assemble: Callable[[], Learner], stop: Stop) -> int:
    """Every other process's side: do what the first one says, and return the exit code that it says in the end.

    `assemble` makes the learner when it is first needed: not where the first process finds nothing to do.
    """
    learner: Learner | None = None
    while True:
        order, code, _ = ranks.largest([0, 0, int(stop.reason is not None)])
        if order == LEAVE:
            return code
        learner = learner or assemble()
        if order == TAKE_OVER:
            take_state(ranks, learner)
        else:
            learner.update()


def give_state(ranks: Ranks, learner: Learner) -> None:
    """Send the learner's whole state to those that `take_state`."""
    tensors, numbers = learner.saved()
    shapes = {group: {n: (t.shape, t.dtype) for n, t in named.items()} for group, named in tensors.items()}
    besides = {"rate_share": learner.rate_share, "micro_batch": learner.micro_batch}
    ranks.from_first((learner.step, learner.training, numbers, besides, shapes))
    ranks.fill_from_first([tensor.detach() for named in tensors.values() for tensor in named.values()])


def take_state(ranks: Ranks, learner: Learner) -> None:
    """Be as the first process's learner, bit by bit."""
    step, training, numbers, besides, shapes = ranks.from_first(None)
    tensors: dict[str, dict[str, Any]] = {
        group: {name: torch.empty(shape, dtype=dtype, device=learner.device) for name, (shape, dtype) in named.items()}
        for group, named in shapes.items()
    }
    ranks.fill_from_first([tensor for named in tensors.values() for tensor in named.values()])
    learner.restore(step, tensors, numbers)
    learner.follow(training)  # which the overfit guard may have cut short
    learner.rate_share, learner.micro_batch = besides["rate_share"], besides["micro_batch"]
