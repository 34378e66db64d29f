"""Where computing is done in what: too little memory, float16 and its scale, and devices that are not there."""

from functools import partial

import pytest
import torch

from gpt import device as devices
from gpt import learner as learners
from gpt.batches import Batches
from gpt.device import choose_device, mixed_type
from gpt.errors import GPTError
from gpt.jobs import Runtime
from gpt.learner import Learner
from gpt.loss_scale import GROW_AFTER, LossScale
from tests.gpt_toys import VOCAB, documents, shard, tiny_model, tiny_training

CPU = torch.device("cpu")


def learner(dropout=0.0, **training) -> Learner:
    model, plan = tiny_model(dropout=dropout), tiny_training(batch_size=12, **training)
    return Learner(model, plan, Batches({"a": [shard(documents(60))]}, {"a": 1.0}, 16, 12, VOCAB, plan.seed), CPU)


def little_memory(one: Learner, sequences: int, from_step: int = 0, in_pass: int = 1) -> list[int]:
    """From some step on, let pass `in_pass` and later ones of more sequences run out of memory; returns their sizes."""
    honest, seen = one.loss_sum, []

    def loss_sum(ids, targets):
        seen.append(len(ids))
        if len(ids) > sequences and one.step >= from_step and len(seen) >= in_pass:
            raise torch.OutOfMemoryError("CUDA out of memory (made up).")
        return honest(ids, targets)

    one.loss_sum = loss_sum
    return seen


def test_little_memory_halves_the_micro_batch_and_leaves_the_result():
    plenty, little = learner(), learner()
    seen = little_memory(little, 4)
    norms = [(plenty.update(), little.update()) for _ in range(4)]
    assert seen == [12, 6, *[3] * 16] and little.micro_batch == 3
    for one, other in norms:
        assert float(one) == pytest.approx(float(other), rel=1e-4)
    assert plenty.take_loss() == pytest.approx(little.take_loss(), rel=1e-6)


def test_memory_that_runs_out_in_the_middle_of_a_later_step_leaves_nothing_behind():
    parts, little = learner(micro_batch=3, dropout=0.3), learner(micro_batch=6, dropout=0.3)
    little.micro_batch, parts.micro_batch = 6, 6
    seen = little_memory(little, 3, from_step=2, in_pass=6)  # the second pass of the third step
    for step in range(4):
        parts.micro_batch = 6 if step < 2 else 3
        assert torch.equal(parts.update(), little.update())  # draws of dropout included
    assert seen == [6, 6, 6, 6, 6, 6, *[3] * 8]
    for one, other in zip(parts.model.parameters(), little.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_one_sequence_that_is_too_much_is_an_error():
    one = learner()
    seen = little_memory(one, 0)
    with pytest.raises(torch.OutOfMemoryError):
        one.update()
    assert seen == [12, 6, 3, 2, 1] and one.step == 0


def test_the_scale_halves_on_overflow_and_grows_after_many_good_steps():
    scale, loss = LossScale(8.0), torch.tensor(2.0)
    gradients = [torch.tensor([8.0, 16.0]), torch.tensor([4.0])]
    assert scale.unscale(gradients, loss)
    assert [g.tolist() for g in gradients] == [[1.0, 2.0], [0.5]]
    for left in (4.0, 2.0, 1.0):
        assert not scale.unscale([torch.tensor([float("inf")]), torch.tensor([1.0])], loss)
        assert (scale.scale, scale.good) == (left, 0)
    assert scale.unscale([torch.tensor([float("inf")])], loss)  # at 1 it is the model's own fault
    scale = LossScale(8.0)
    assert scale.unscale([torch.tensor([float("nan")])], torch.tensor(float("nan"))) and scale.scale == 8.0
    for _ in range(GROW_AFTER - 1):
        scale.unscale([torch.ones(1)], loss)
    assert scale.scale == 8.0
    scale.unscale([torch.ones(1)], loss)
    assert (scale.scale, scale.good) == (16.0, 0)


def in_float16(monkeypatch) -> None:
    monkeypatch.setattr(learners, "mixed_type", lambda device: torch.float16)
    monkeypatch.setattr(learners, "mixed_precision", lambda device: torch.autocast("cpu", torch.float16))


def test_float16_learns_like_float32(monkeypatch):
    exact = learner()
    in_float16(monkeypatch)
    half = learner()
    half.loss_scale.scale = 2.0**24  # far too much: it must come down without a step being lost
    for _ in range(10):
        norms = exact.update(), half.update()
        assert float(norms[0]) == pytest.approx(float(norms[1]), rel=0.05)
    assert int(half.optimizer.skipped) == 0
    assert exact.take_loss() == pytest.approx(half.take_loss(), rel=2e-3)
    assert 1 < half.loss_scale.scale < 2.0**24


def test_without_a_scale_float16_would_lose_small_gradients(monkeypatch):
    def norm(scale: LossScale | None) -> float:
        one = learner()
        one.loss_scale = scale
        one.loss_sum = partial(lambda honest, i, t: honest(i, t) * 1e-6, one.loss_sum)
        return float(one.update())

    right = norm(None)
    in_float16(monkeypatch)
    assert norm(LossScale()) == pytest.approx(right, rel=0.02)
    assert norm(None) != pytest.approx(right, rel=0.02)


def test_a_restored_scale_goes_on(monkeypatch):
    in_float16(monkeypatch)
    one, other = learner(), learner()
    one.loss_scale.scale = 64.0
    one.update()
    other.restore(1, *one.saved())
    assert other.loss_scale.numbers() == {"scale": 64.0, "good": 1}
    numbers = one.saved()[1]
    del numbers["loss_scale"]  # as saved by a card with bfloat16
    other.restore(1, one.saved()[0], numbers)


def test_bad_steps_are_still_counted_in_float16(monkeypatch):
    in_float16(monkeypatch)
    one = learner()
    honest = one.loss_sum
    one.loss_sum = lambda i, t: honest(i, t) * float("nan")
    before = [p.detach().clone() for p in one.model.parameters()]
    one.update()
    assert int(one.optimizer.skipped) == 1 and one.loss_scale.scale == 2.0**16
    assert all(torch.equal(a, b) for a, b in zip(before, one.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_the_type_follows_the_card(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert mixed_type(torch.device("cuda")) == expected
    assert mixed_type(CPU) == mixed_type(torch.device("mps")) == torch.float32


def test_mps_is_tried_and_refused_where_it_is_not(monkeypatch):
    with pytest.raises(GPTError, match=r"Device mps was asked for, but .*(Metal).* Set runtime.device to auto or cpu"):
        choose_device(Runtime(device="mps"), print)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(GPTError, match="a first kernel failed on Apple GPU"):
        choose_device(Runtime(device="mps"), print)
    monkeypatch.setattr(devices, "kernel_failure", lambda device, name: None)
    assert choose_device(Runtime(device="mps"), print).type == "mps"


def test_a_device_that_computes_wrongly_is_no_device(monkeypatch):
    assert devices.kernel_failure("cpu", "this processor") is None
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: a)
    assert devices.kernel_failure("cpu", "this processor") == "a first kernel gave a wrong result on this processor"
