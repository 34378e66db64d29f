"""The loss in pieces against torch's own cross-entropy on whole logits."""

import pytest
import torch
import torch.nn.functional as F

from gpt.batches import Batches
from gpt.learner import Learner
from gpt.losses import COMPILES, piecewise_loss_sum, rows_at_once
from tests.gpt_toys import VOCAB, documents, shard, tiny_model, tiny_training

CPU = torch.device("cpu")


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 7, 8, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(11, 8, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randint(11, (3, 7), generator=generator)
    return hidden, weight, targets


def plain(hidden, weight, targets):
    return F.cross_entropy(F.linear(hidden, weight).flatten(0, 1).float(), targets.flatten(), reduction="sum")


@pytest.mark.parametrize("rows", [1, 4, 20, 21, 1000])  # 21 rows in all: single ones, uneven pieces, one piece
def test_loss_and_gradients_are_those_of_whole_logits(rows):
    hidden, weight, targets = inputs()
    targets[1, 2:5] = -100
    expected = plain(hidden, weight, targets)
    wanted = torch.autograd.grad(expected / 21, (hidden, weight))
    found = piecewise_loss_sum(hidden, weight, targets, 11 * 4 * rows)
    gradients = torch.autograd.grad(found / 21, (hidden, weight))
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for one, other in zip(gradients, wanted, strict=True):
        assert (one - other).abs().max() < 1e-6
    assert not gradients[0][1, 2:5].any()


def test_huge_logits_stay_finite():
    hidden, weight, targets = inputs()
    found = piecewise_loss_sum(hidden * 1e3, weight * 1e3, targets, 11 * 4 * 4)
    assert float(found.detach()) == pytest.approx(float(plain(hidden * 1e3, weight * 1e3, targets).detach()), rel=1e-6)
    assert torch.isfinite(torch.autograd.grad(found, hidden)[0]).all()


def test_under_autocast_it_is_as_near_as_whole_logits_are():
    hidden, weight, targets = inputs()
    exact = torch.autograd.grad(plain(hidden, weight, targets), (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        whole, pieces = plain(hidden, weight, targets), piecewise_loss_sum(hidden, weight, targets, 11 * 4 * 4)
    assert pieces.dtype == torch.float32
    assert float(pieces.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    gradients = [torch.autograd.grad(loss, (hidden, weight)) for loss in (whole, pieces)]
    for rough, ours, true in zip(*gradients, exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - true).abs().max() < 2 * (rough - true).abs().max() + 1e-3


def test_without_gradients_none_are_made():
    hidden, weight, targets = inputs()
    with torch.no_grad():
        loss = piecewise_loss_sum(hidden, weight, targets, 100.0)
    assert not loss.requires_grad and float(loss) == pytest.approx(float(plain(hidden, weight, targets).detach()))
    only = piecewise_loss_sum(hidden.detach(), weight, targets, 100.0)
    assert torch.autograd.grad(only, weight)[0].shape == weight.shape


def test_it_compiles_and_where_torch_can_as_one_graph():
    hidden, weight, targets = inputs()
    compiled = torch.compile(piecewise_loss_sum, backend="aot_eager", fullgraph=COMPILES, dynamic=False)
    losses = [loss(hidden, weight, targets, 11 * 4 * 4) for loss in (piecewise_loss_sum, compiled)]
    assert torch.equal(*losses)
    for one, other in zip(*(torch.autograd.grad(loss, (hidden, weight)) for loss in losses), strict=True):
        assert torch.equal(one, other)


def test_pieces_are_even_and_fit():
    assert rows_at_once(100, 10, 4000) == 100  # everything fits
    assert rows_at_once(100, 10, 3999) == 50  # not quite: two even halves
    assert rows_at_once(100, 10, 400) == 10
    assert rows_at_once(100, 10, 0) == 1


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("preset", ["modern", "gpt2"])
def test_a_learner_that_works_in_pieces_learns_the_same(preset, tied):
    if preset == "gpt2" and not tied:
        return
    model, plan = tiny_model(preset, tied=tied), tiny_training()
    batches = Batches({"a": [shard(documents(60))]}, {"a": 1.0}, 16, plan.batch_size, VOCAB, plan.seed)
    whole, pieces = (Learner(model, plan, batches, CPU, logits_bytes=size) for size in (2**30, 64 * 4 * 5))
    assert whole.loss_sum == whole.model.loss_sum and pieces.loss_sum != pieces.model.loss_sum
    for _ in range(5):
        norms = whole.update(), pieces.update()
        assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-5)
    assert whole.take_loss() == pytest.approx(pieces.take_loss(), rel=1e-6)
