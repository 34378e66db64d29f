"""What learns: a model, its optimizer and its place in the data, one update at a time.

An update follows from this state and (seed, step) alone; draws such as dropout are seeded anew at every step. So a
learner restored from its tensors goes on exactly as the one that was saved. Where several processes train one model,
each does a share of the rows of every batch, and all of them have the same state. Knows no files and no validation.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpt.batches import Batches
from gpt.config import ModelConfig, TrainingConfig
from gpt.device import logits_memory, mixed_precision, mixed_type
from gpt.loss_scale import LossScale
from gpt.losses import BYTES_PER_LOGIT, piecewise_loss_sum
from gpt.masking import hide, inputs_and_targets, targets_per_row
from gpt.model import GPT
from gpt.optimizer import Optimizer
from gpt.ranks import ALONE, Ranks
from gpt.schedule import learning_rate, momentum, weight_decay
from gpt.shuffle import derive

WEIGHTS, DROPOUT, MASKS = 1, 3, 4  # which stream of random numbers out of the one seed


class Learner:
    """`step` counts the updates done, `first` those of the runs that this one extends, which saw other data.

    The scheduled learning rate is multiplied by `rate_scale` and by `rate_share`, which is the run's own and not saved.
    `edits` counts the changes of the state that are no updates: after one, other processes must take over the state
    (`gpt.together`), so whoever changes it from outside counts up, too.
    """

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        batches: Batches,
        device: torch.device,
        compiled: bool = False,
        logits_bytes: float | None = None,
        ranks: Ranks = ALONE,
        micro_batch: int | None = None,
    ) -> None:
        """`logits_bytes`: what logits may take at once, in float32; more are made in pieces; None: by the device.

        `micro_batch`: at most so many sequences per pass; None: what `training` says.

        `ranks`: the processes that train together, each with a learner like this one.
        """
        self.ranks, self.edits = ranks, 0
        self.config, self.training, self.batches, self.device = model, training, batches, device
        self.model = GPT(model).to(device).train()
        if logits_bytes is None:
            logits_bytes = logits_memory(device)
        self.row_targets = targets_per_row(model.context) if model.masked else model.context
        self.micro_batch = min(training.micro_batch, micro_batch or training.micro_batch)  # halved if that is too much
        logits = self.micro_batch * self.row_targets * model.padded_vocab * BYTES_PER_LOGIT
        loss_sum = self.model.loss_sum if logits <= logits_bytes else partial(self._loss_in_pieces, logits_bytes)
        self.loss_sum = torch.compile(loss_sum, dynamic=False) if compiled else loss_sum
        self.start_over()

    def _loss_in_pieces(self, logits_bytes: float, ids: Tensor, targets: Tensor) -> Tensor:
        head = self.model.embedding.weight if self.config.tied else self.model.head.weight
        hidden, targets = self.model.predicting(ids, targets)
        return piecewise_loss_sum(hidden, head, targets, logits_bytes)

    def start_over(self) -> None:
        """Back to step 0, with the starting weights that the seed gives."""
        self.model.initialise(derive(self.training.seed, WEIGHTS))
        self.optimizer = Optimizer(self.model, self.training, self.ranks)
        self.edits += 1
        self.step = self.first = 0
        self.rate_scale = self.rate_share = 1.0
        self.loss_scale = LossScale() if mixed_type(self.device) == torch.float16 else None
        # sum and number of the finite losses since `take_loss`, kept on the device
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        self.loss_total = torch.zeros((), dtype=wide, device=self.device)
        self.loss_steps = torch.zeros((), dtype=wide, device=self.device)

    def rate(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        return self.rate_scale * self.rate_share * learning_rate(step, self.training)

    def follow(self, training: TrainingConfig) -> None:
        """Go on by another schedule."""
        self.edits += 1
        self.training = self.optimizer.config = training

    @property
    def tokens_per_step(self) -> int:
        """Tokens read in one update; of a causal model each has a target."""
        return self.training.batch_size * self.config.context

    def update(self) -> Tensor:
        """One update of the weights; returns the norm of the gradient before clipping, a scalar on the device.

        The loss is the sum over all targets of the batch divided by their number, however the batch is split into
        processes and micro-batches. When it or the gradient is not finite, the weights stay and the optimizer counts.
        """
        begin, end = self.ranks.rows(self.training.batch_size)
        if self.config.masked:
            whole = self.batches.batch(self.first + self.step)
            seed = derive(self.training.seed, MASKS, self.first + self.step)
            batch = hide(whole[:, :-1], self.config.vocab_size, seed)[begin:end]
        else:
            batch = self.batches.batch(self.first + self.step, begin, end)
        ids = torch.from_numpy(batch)
        if self.device.type == "cuda":
            ids = ids.pin_memory()
        if self.device.type != "cpu":
            ids = ids.to(self.device, non_blocking=True)
        loss = self._gradients(ids)
        decay, memory = weight_decay(self.step, self.training), momentum(self.step, self.training)
        norm = self.optimizer.step(loss, self.rate(self.step), decay, memory)
        finite = torch.isfinite(loss)
        self.loss_total += torch.where(finite, loss, 0)
        self.loss_steps += finite
        self.step += 1
        return norm

    def _gradients(self, ids: Tensor) -> Tensor:
        """Leave the whole batch's gradients with the parameters and return its loss; `ids` are this process's rows.

        Where memory does not suffice in any process, the batch is done again in micro-batches of half the size, from
        then on: the result stays, apart from the order of summation. Where scaled float16 gradients overflow, it is
        done again at half the scale. Raises torch.OutOfMemoryError when one sequence is too much.
        """
        while True:
            try:
                loss = self._accumulate(ids)
            except torch.OutOfMemoryError:
                if self.micro_batch == 1 and self.ranks.count == 1:
                    raise
                loss = None
            if self.ranks.any(loss is None):  # the failed pass hangs on its error, so it is gone only here
                if self.micro_batch == 1:
                    raise torch.OutOfMemoryError("one sequence per pass is too much for one of the processes")
                most = -(-self.training.batch_size // self.ranks.count)  # rows of a process
                self.micro_batch = -(-min(self.micro_batch, most) // 2)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
            elif loss is not None:
                gradients = self._sum_over_ranks(loss)
                if self.loss_scale is None or self.loss_scale.unscale(gradients, loss):
                    return loss
            for parameter in self.model.parameters():
                parameter.grad = None

    @torch.no_grad()
    def _sum_over_ranks(self, loss: Tensor) -> list[Tensor]:
        """Sum loss and gradients, in place, and return the gradients; a process without rows has none of its own."""
        for parameter in self.model.parameters():
            if parameter.grad is None and self.ranks.count > 1:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.model.parameters()]
        self.ranks.sum([*gradients, loss])
        return gradients

    def _accumulate(self, ids: Tensor) -> Tensor:
        """One pass over a process's rows in micro-batches; gradients are multiplied by the loss scale, the loss is not.

        Dropout is seeded by a micro-batch's first row, so that several processes draw what one would in such passes.
        """
        scale = 1.0 if self.loss_scale is None else self.loss_scale.scale
        loss = torch.zeros((), device=self.device)
        row, _ = self.ranks.rows(self.training.batch_size)
        for micro in ids.split(self.micro_batch) if len(ids) else ():
            if self.config.dropout:
                place = (row,) if row else ()
                torch.manual_seed(derive(self.training.seed, DROPOUT, self.first + self.step, *place))
            row += len(micro)
            with mixed_precision(self.device):
                part = self.loss_sum(*inputs_and_targets(micro)) / (self.training.batch_size * self.row_targets)
            (part if scale == 1 else part * scale).backward()
            loss += part.detach()
        return loss

    def take_loss(self) -> float | None:
        """The mean loss in nats per target since the last call, None if none was finite; waits for the device."""
        steps = self.loss_steps.item()
        loss = self.loss_total.item() / steps if steps else None
        self.loss_total.zero_()
        self.loss_steps.zero_()
        return loss

    def saved(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """All of the state, as groups of named tensors and as JSON."""
        tensors = {"weights": self.model.state_dict(), "optimizer": self.optimizer.tensors()}
        numbers = {
            "first": self.first,
            "rate_scale": self.rate_scale,
            "loss_total": self.loss_total.item(),
            "loss_steps": self.loss_steps.item(),
        }
        if self.loss_scale is not None:
            numbers["loss_scale"] = self.loss_scale.numbers()
        return tensors, numbers

    def restore(self, step: int, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """Take over what `saved` returned after `step` updates."""
        self.edits += 1
        self.step, self.first = step, numbers["first"]
        self.model.load_state_dict(tensors["weights"])
        self.optimizer.restore(tensors["optimizer"])
        self.rate_scale = numbers["rate_scale"]
        if self.loss_scale is not None and "loss_scale" in numbers:  # absent if saved on another kind of device
            self.loss_scale.restore(numbers["loss_scale"])
        self.loss_total.fill_(numbers["loss_total"])
        self.loss_steps.fill_(numbers["loss_steps"])

    def extend(self) -> None:
        """Count from here as from the beginning of a run; data go on where they were, the optimizer keeps its state."""
        self.edits += 1
        self.first, self.step = self.first + self.step, 0
        self.rate_scale = 1.0
        self.optimizer.skipped.zero_()
        self.optimizer.bad_in_a_row.zero_()
        self.take_loss()
