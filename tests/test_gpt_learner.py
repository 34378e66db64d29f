"""Learning: accumulation, schedules, dropout seeds, memorising, and bad gradients, with Muon and with AdamW."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from gpt.assemble import assemble
from gpt.batches import Batches
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.learner import Learner
from gpt.schedule import learning_rate, momentum, weight_decay
from tests.gpt_toys import VOCAB, change_job, documents, shard, tiny_model, tiny_training, write_job

CPU = torch.device("cpu")


def learner(texts=None, preset="modern", dropout=0.0, **training) -> Learner:
    model, plan = tiny_model(preset, dropout=dropout), tiny_training(preset, **training)
    shards = [shard(texts if texts is not None else documents(60))]
    return Learner(model, plan, Batches({"a": shards}, {"a": 1.0}, 16, plan.batch_size, VOCAB, plan.seed), CPU)


@pytest.mark.parametrize("preset", ["modern", "gpt2", "bigram"])
def test_accumulation_is_one_big_batch(preset):
    whole, parts = learner(preset=preset, batch_size=12), learner(preset=preset, batch_size=12, micro_batch=5)
    for _ in range(5):
        norms = whole.update(), parts.update()
        assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-4)
    assert whole.take_loss() == pytest.approx(parts.take_loss(), rel=1e-6)
    # one update's gradients, before the optimizer divides by their size
    assert gradients_of(whole, 12) == pytest.approx(gradients_of(whole, 4), abs=1e-6)


@pytest.mark.parametrize(("allowed", "taken"), [(None, 3), (2, 2), (8, 3)])
def test_a_machine_with_less_memory_takes_fewer_sequences_per_pass(tmp_path, allowed, taken):
    job = change_job(write_job(tmp_path, micro_batch=3), runtime__micro_batch=allowed)
    read = read_job(RunJob, job)
    assert assemble(read, CPU).micro_batch == taken
    assert "runtime" not in read.identity() and read.identity()["training"]["micro_batch"] == 3


def gradients_of(one: Learner, micro_batch: int) -> np.ndarray:
    one.micro_batch = micro_batch
    grabbed = {}
    step, one.optimizer.step = one.optimizer.step, lambda *_: grabbed.setdefault("norm", torch.zeros(()))
    one.update()
    one.optimizer.step, one.step = step, one.step - 1
    found = np.concatenate([p.grad.flatten().numpy() for p in one.model.parameters()])
    one.model.zero_grad()
    return found


def test_the_schedule_rises_holds_and_falls():
    config = tiny_training(
        steps=100, learning_rate=0.1, warmup_share=0.1, decay_share=0.4, weight_decay=2.0, weight_decay_final_share=0.5
    )
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.03])
    assert rates[9:61] == pytest.approx([0.1] * 52)
    assert rates[80] == pytest.approx(0.1 * (0.05 + 0.95 * 0.5))
    assert rates[99] == pytest.approx(0.1 * (0.05 + 0.95 / 40))
    assert weight_decay(0, config) == 2.0 and weight_decay(50, config) == 1.5
    memories = [momentum(step, config) for step in range(101)]
    assert memories[:3] == pytest.approx([0.85, 0.85 + 0.1 / 15, 0.85 + 0.2 / 15])  # 15% of the steps are under 300
    assert memories[15:61] == pytest.approx([0.95] * 46)
    assert (memories[80], memories[100]) == pytest.approx((0.925, 0.9))
    assert momentum(150, dataclasses.replace(config, steps=10_000)) == pytest.approx(0.9)
    flat = dataclasses.replace(config, warmup_share=0.0, decay_share=0.0)
    assert {learning_rate(step, flat) for step in range(100)} == {0.1}
    assert momentum(99, flat) == 0.95


@pytest.mark.parametrize("preset", ["modern", "gpt2"])
def test_a_restored_learner_goes_on_bitwise(preset):
    one, other = learner(preset=preset, dropout=0.3), learner(preset=preset, dropout=0.3)
    one.rate_scale = 0.5  # as after bad steps
    for _ in range(4):
        one.update()
    tensors, numbers = one.saved()
    tensors = {group: {name: t.clone() for name, t in part.items()} for group, part in tensors.items()}
    torch.manual_seed(12345)  # a resumed process has another history of random numbers
    other.restore(4, tensors, numbers)
    for _ in range(4):
        assert torch.equal(one.update(), other.update())
    assert one.take_loss() == other.take_loss()
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_dropout_changes_with_the_step_and_the_seed():
    plain, dropped, reseeded, later = learner(), learner(dropout=0.5), learner(dropout=0.5), learner(dropout=0.5)
    reseeded.training = dataclasses.replace(reseeded.training, seed=2)
    later.step = 7
    batch, losses = plain.batches.batch(0), []
    for one in (plain, dropped, reseeded, later):  # the same weights and data, so only the dropped places differ
        one.model.load_state_dict(learner().model.state_dict())
        with torch.no_grad():
            one.model.head.weight.normal_(generator=torch.Generator().manual_seed(1))
        one.batches.batch = lambda step, begin, end: batch
        one.update()
        losses.append(one.take_loss())
    assert len(set(losses)) == 4


@pytest.mark.parametrize("preset", ["modern", "gpt2"])
def test_one_batch_can_be_memorised(preset):
    generator = np.random.default_rng(0)
    text = [0, *generator.integers(1, VOCAB, 32).tolist()]
    one = learner([text], preset, steps=150, batch_size=3, learning_rate=1e-2, decay_share=0.2, weight_decay=0.0)
    first = None
    for _ in range(150):
        one.update()
        if one.step == 1:
            first = one.take_loss()
        elif one.step == 140:
            one.take_loss()
    assert first == pytest.approx(math.log(64), abs=0.1)
    assert one.take_loss() < 0.5  # windows start anywhere, so their first tokens can only be guessed at


def test_shuffled_targets_are_learned_no_better_than_their_frequencies():
    generator = np.random.default_rng(0)
    shares = np.array([0.5, 0.25, 0.15, 0.1])
    texts = [[0, *(generator.choice(4, 199, p=shares) + 1).tolist()] for _ in range(300)]
    one = learner(texts, steps=80, batch_size=16, learning_rate=3e-3)
    for _ in range(80):
        one.update()
        if one.step == 60:
            one.take_loss()
    entropy = -(shares * np.log(shares)).sum() * 199 / 200
    assert entropy - 0.03 < one.take_loss() < entropy + 0.15


def test_a_bigram_model_comes_to_the_entropy_of_pairs():
    generator = np.random.default_rng(0)
    moves = generator.dirichlet(np.full(12, 0.5), 12)  # the next id's shares, by the last
    text = [0]
    for _ in range(20_000):
        text.append(int(generator.choice(12, p=moves[text[-1] - 1])) + 1 if text[-1] else 1)
    pairs = np.zeros((13, 13))
    np.add.at(pairs, (text[:-1], text[1:]), 1)
    rows = pairs.sum(1, keepdims=True)
    best = -(pairs * np.log(np.where(pairs > 0, pairs / np.maximum(1, rows), 1))).sum() / pairs.sum()
    one = learner([text], "bigram", steps=200, batch_size=16, learning_rate=1e-2, weight_decay=0.0)
    for _ in range(200):
        one.update()
        if one.step == 180:
            one.take_loss()
    assert best - 0.04 < one.take_loss() < best + 0.04
    assert best < math.log(12) - 0.3  # pairs tell something


def poison(one: Learner, steps: set[int]) -> None:
    """Make the loss of some steps not a number."""
    honest = one.loss_sum

    def loss_sum(ids, targets):
        return honest(ids, targets) * (float("nan") if one.step in steps else 1.0)

    one.loss_sum = loss_sum


@pytest.mark.parametrize("preset", ["modern", "gpt2"])
def test_a_bad_step_changes_nothing_and_is_counted(preset):
    one = learner(preset=preset)
    poison(one, {2})
    for _ in range(2):
        one.update()
    before = {name: p.detach().clone() for name, p in one.model.named_parameters()}
    moments = {name: t.clone() for name, t in one.optimizer.tensors().items()}
    one.update()
    assert all(torch.equal(before[name], p) for name, p in one.model.named_parameters())
    after = one.optimizer.tensors()
    assert all(torch.equal(moments[n], after[n]) for n in moments if n not in ("skipped", "bad_in_a_row"))
    assert (int(one.optimizer.skipped), int(one.optimizer.bad_in_a_row)) == (1, 1)
    one.update()
    assert (int(one.optimizer.skipped), int(one.optimizer.bad_in_a_row)) == (1, 0)
    assert math.isfinite(one.take_loss())


def test_three_bad_steps_in_a_row_stay_visible():
    one = learner()
    poison(one, {1, 2, 3})
    for _ in range(6):
        one.update()
    assert int(one.optimizer.bad_in_a_row) == 3  # so that a GPU run sees it at its next line of metrics
