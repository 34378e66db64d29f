"""Configs and plan: ranges, formulas against hand-worked numbers, refusals with both values."""

import ast
import dataclasses
import inspect
import itertools
import math

import pytest

from gpt.config import ModelConfig, SamplingConfig, TrainingConfig
from gpt.errors import GPTError
from gpt.plan import matrix_parameters, resolve
from gpt.rates import muon_rate


def test_a_resolved_plan_leaves_nothing_open():
    for preset in ("modern", "gpt2", "bigram"):
        for tokens in (500, 700_000, 5_000_000_000):
            model, training = resolve(ModelConfig(preset=preset), TrainingConfig(), 512, tokens, tokens // 20)
            assert None not in vars(model).values()
            assert None not in vars(training).values()
            assert resolve(model, training, 512, tokens, tokens // 20) == (model, training)


def test_the_shape_follows_the_formulas():
    small, _ = resolve(ModelConfig(layers=2), TrainingConfig(), 300, 10**6, train_bytes=10**6)
    assert (small.width, small.heads, small.feed_forward, small.context) == (128, 4, 384, 256)
    assert small.tied is False  # width 128 is narrow
    large, _ = resolve(ModelConfig(layers=12), TrainingConfig(), 32768, 10**8, train_bytes=4 * 10**8)
    assert (large.width, large.heads, large.feed_forward, large.context) == (768, 6, 2048, 1024)
    assert large.tied is True and large.rope_theta == 1e4
    long, _ = resolve(ModelConfig(context=2048), TrainingConfig(), 300, 10**6)
    assert long.rope_theta == 1e5
    classic, _ = resolve(ModelConfig(preset="gpt2", layers=12), TrainingConfig(), 50257, 10**8)
    assert (classic.heads, classic.feed_forward, classic.tied, classic.padded_vocab) == (12, 3072, True, 50304)
    assert resolve(ModelConfig(), TrainingConfig(), 300, 10**6)[0].layers == 4


@pytest.mark.parametrize(("vocab_size", "width"), [(65, 65), (1024, 1024), (1025, 256), (50257, 256), (2, 8)])
def test_a_bigram_model_has_the_width_of_its_table(vocab_size, width):
    shape, _ = resolve(ModelConfig(preset="bigram"), TrainingConfig(), vocab_size, 10**6)
    assert (shape.layers, shape.heads, shape.feed_forward) == (0, 0, 0)
    assert (shape.width, shape.tied) == (width, False)
    assert matrix_parameters(shape) == shape.padded_vocab * width
    _, plan = resolve(ModelConfig(preset="bigram", context=64), TrainingConfig(batch_size=64), vocab_size, 10**9)
    assert (plan.learning_rate, plan.steps) == (0.03, round(150 * shape.padded_vocab * width / 4096))
    by_hand, _ = resolve(ModelConfig(preset="bigram", layers=0, width=96), TrainingConfig(), vocab_size, 10**6)
    assert by_hand.width == 96


def adamw(**fields) -> TrainingConfig:
    return TrainingConfig(optimizer="adamw", **fields)


def test_the_training_follows_the_formulas_of_adamw():
    model = ModelConfig(layers=4, width=128, context=64)
    shape, plan = resolve(model, adamw(steps=2000, batch_size=12), 2048, 600_000)
    # by hand: 4 blocks of 4 x 128^2 + 3 x 128 x 384, and a head of 2048 x 128
    assert matrix_parameters(shape) == 4 * (65_536 + 147_456) + 262_144 == 1_114_112
    assert plan.learning_rate == 3e-3  # 0.895 x 1114112^-0.713 x 1536000^0.307 = 3.46e-3, above the cap
    assert plan.warmup_share == 0.05  # 100 steps of 2000
    assert plan.decay_share == 0.65  # 2.56 epochs are at most 4
    assert plan.weight_decay == 1.8569  # parameters / tokens
    assert plan.weight_decay_final_share == 0
    _, scarce = resolve(model, adamw(steps=2000, batch_size=12), 2048, 100_000)
    _, plenty = resolve(model, adamw(steps=2000, batch_size=12), 2048, 10**9)
    assert (scarce.weight_decay, plenty.weight_decay) == (3.2, 0.1)  # 11.1 and 0.001, cut to the range
    dropout = {n: resolve(model, adamw(steps=2000, batch_size=12), 2048, n)[0].dropout for n in (100_000, 200_000)}
    assert shape.dropout == 0
    assert dropout == {100_000: 0.1971, 200_000: 0}  # 15.36 and 7.68 epochs of 11.1 and 5.6 parameters per token
    assert plan.evaluation_every == 50 and plan.micro_batch == 12
    _, many = resolve(model, adamw(steps=20_000, batch_size=12), 2048, 600_000)
    assert many.decay_share == 0.4 and many.weight_decay_final_share == 1  # 25.6 epochs
    wide = ModelConfig(layers=12, context=1024)
    _, large = resolve(wide, adamw(steps=1000, batch_size=32), 32768, 10**8)
    assert large.learning_rate == pytest.approx(3.35e-4, rel=2e-3)  # e^(ln 0.895 - 0.713 x 18.517 + 0.307 x 17.305)


def test_the_training_follows_the_formulas_of_muon():
    model = ModelConfig(layers=4, width=128, context=64)
    _, plan = resolve(model, TrainingConfig(steps=1600, batch_size=12), 2048, 600_000)
    assert (plan.optimizer, plan.beta1, plan.epsilon, plan.momentum) == ("muon", 0.8, 1e-10, 0.95)
    assert plan.learning_rate == 0.025  # of a small batch
    # by hand, with sqrt(768 / 128) = 2.449: 15 x 2.449 x 0.025, 0.4 x 2.449 x 0.025, 0.5 x 0.025
    assert (plan.embedding_rate, plan.head_rate, plan.gain_rate) == (0.919, 0.0245, 0.0125)
    assert plan.warmup_share == 0.02  # 32 steps, fewer than 40
    assert plan.decay_share == 0.7  # 2.05 epochs, a small batch
    assert plan.weight_decay == 0.6157  # 0.3 + 0.17 x 1114112 / 600000
    _, tied = resolve(ModelConfig(layers=12, tied=True), TrainingConfig(steps=4000, batch_size=2048), 32768, 10**10)
    assert tied.learning_rate == 0.04  # 0.02 x sqrt(2^21 / 2^19)
    assert (tied.embedding_rate, tied.gain_rate, tied.warmup_share) == (0.006, 0.02, 0.01)
    assert tied.decay_share == 0.65 and tied.weight_decay == 0.3019  # 0.3 + 0.17 x 110100480 / 10^10
    classic = resolve(ModelConfig(preset="gpt2"), TrainingConfig(), 2048, 600_000)[1]
    assert (classic.optimizer, classic.beta1, classic.epsilon) == ("adamw", 0.9, 1e-8)
    assert classic.learning_rate == classic.embedding_rate == classic.head_rate == classic.gain_rate


def test_the_rate_of_muon_has_no_gaps():
    rates = [muon_rate(batch) for batch in range(2**10, 2**20, 2**10)]
    assert rates[0] == rates[15] == 0.025
    assert all(abs(math.log(after / before)) < 0.02 for before, after in itertools.pairwise(rates))


def test_one_rate_sets_the_others_which_may_be_set_by_hand():
    model = ModelConfig(layers=2, width=192, context=64)
    _, halved = resolve(model, TrainingConfig(steps=10, learning_rate=0.01), 300, 10**6)
    assert (halved.embedding_rate, halved.head_rate, halved.gain_rate) == (0.3, 0.008, 0.005)  # sqrt(768 / 192) = 2
    by_hand = {"learning_rate": 0.01, "embedding_rate": 0.2, "head_rate": 0.03, "gain_rate": 0.04}
    for optimizer in ("muon", "adamw"):
        _, plan = resolve(model, TrainingConfig(optimizer=optimizer, steps=10, **by_hand), 300, 10**6)
        assert {name: getattr(plan, name) for name in by_hand} == by_hand


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 100, "heads": 3}, ["3", "100", "heads"]),
        ({"width": 66, "heads": 22}, ["66", "22", "even"]),
        ({"layers": 0}, ["layers is 0", "'modern'", "at least 1", "'bigram'"]),
        ({"layers": 0, "preset": "gpt2"}, ["layers is 0", "'gpt2'"]),
        ({"layers": 1001}, ["layers", "1001", "1000"]),
        ({"heads": 0}, ["heads", "0"]),
        ({"preset": "bigram", "layers": 4}, ["layers is 4", "'bigram'", "leave layers out"]),
        ({"preset": "bigram", "heads": 2}, ["heads is 2", "'bigram'"]),
        ({"preset": "bigram", "feed_forward": 64}, ["feed_forward is 64", "'bigram'"]),
        ({"preset": "bigram", "bias": True}, ["bias", "'bigram'"]),
        ({"preset": "gpt3"}, ["gpt3", "modern"]),
        ({"bias": True}, ["bias", "modern"]),
        ({"preset": "gpt2", "tied": False}, ["tied"]),
        ({"dropout": 1.0}, ["dropout", "1.0", "0.9"]),
        ({"rope_theta": 0.5}, ["rope_theta", "0.5"]),
    ],
)
def test_a_model_that_cannot_work_is_refused(fields, words):
    with pytest.raises(ValueError) as refusal:
        ModelConfig(**fields)
    assert all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 0}, ["steps", "0"]),
        ({"warmup_share": 0.6, "decay_share": 0.5}, ["0.6", "0.5"]),
        ({"batch_size": 4, "micro_batch": 5}, ["4", "5"]),
        ({"learning_rate": 0.0}, ["learning_rate", "0.0"]),
        ({"optimizer": "sgd"}, ["sgd", "muon"]),
        ({"embedding_rate": 0.0}, ["embedding_rate", "0.0"]),
        ({"head_rate": 200.0}, ["head_rate", "200", "100"]),
        ({"momentum": 1.0}, ["momentum", "1.0"]),
        ({"beta1": 1.0}, ["beta1", "1.0"]),
        ({"clip": 0.0}, ["clip"]),
        ({"epsilon": 0.0}, ["epsilon"]),
        ({"seed": -1}, ["seed", "-1"]),
    ],
)
def test_a_training_that_cannot_work_is_refused(fields, words):
    with pytest.raises(ValueError) as refusal:
        TrainingConfig(**fields)
    assert all(word in str(refusal.value) for word in words)


def test_a_draw_that_cannot_work_is_refused():
    for fields in ({"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(fields))):
            SamplingConfig(**fields)


def test_the_corpus_may_forbid_a_plan():
    with pytest.raises(GPTError, match=r"context is 512 .* only 400"):
        resolve(ModelConfig(context=512), TrainingConfig(), 300, 400)
    with pytest.raises(GPTError, match=r"vocab_size is 100, .* 300"):
        resolve(ModelConfig(vocab_size=100), TrainingConfig(), 300, 10_000)
    with pytest.raises(GPTError, match="heads is 3 and width is 256"):
        resolve(ModelConfig(heads=3), TrainingConfig(), 300, 10_000)
    with pytest.raises(GPTError, match="micro_batch is 100000"):
        resolve(ModelConfig(), TrainingConfig(micro_batch=100_000), 300, 10_000)
    with pytest.raises(GPTError, match="2 tokens"):
        resolve(ModelConfig(), TrainingConfig(), 300, 2)
    open_context, _ = resolve(ModelConfig(), TrainingConfig(), 300, 400)
    assert open_context.context == 100  # a quarter of a corpus smaller than the formula's context


def test_every_field_is_documented():
    """The floors above build forms and docs/recipe.md from the docstrings after the fields."""
    for config in (ModelConfig, TrainingConfig, SamplingConfig):
        body = ast.parse(inspect.getsource(config)).body[0].body
        documented = [
            node.target.id
            for node, after in itertools.pairwise(body)
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        ]
        assert documented == [field.name for field in dataclasses.fields(config)]
