"""The model against torch's math and counting: starting loss, padding, caches, attention.

Its logits are compared with those of transformers in tests/test_gpt_huggingface.py.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from gpt.layers import SHORT, attend, rotary_tables
from gpt.model import GPT, Cache, parameter_count
from tests.gpt_toys import VARIANTS, VOCAB, random_model, tiny_model


@pytest.mark.parametrize("name", VARIANTS)
def test_training_starts_at_the_loss_of_a_guess(name):
    model = GPT(VARIANTS[name]).initialise(3)
    ids = torch.randint(0, VOCAB, (8, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        loss = model.loss_sum(ids[:, :-1], ids[:, 1:]) / ids[:, 1:].numel()
    padded = model.config.padded_vocab  # at first the padding rows are as likely as any
    assert float(loss) == pytest.approx(math.log(padded), abs=0.12)


def test_the_starting_weights_follow_the_recipe():
    model = GPT(tiny_model("modern", tied=False, width=128, heads=4, vocab_size=2000)).initialise(1)
    weights = dict(model.named_parameters())
    bound = math.sqrt(3 / 128)
    assert weights["embedding.weight"].std().item() == pytest.approx(0.8, rel=0.02)
    assert weights["head.weight"].std().item() == pytest.approx(0.001, rel=0.02)
    for block in ("blocks.0.", "blocks.1."):
        qkv, gate_up = weights[block + "attention.qkv.weight"], weights[block + "feed_forward.gate_up.weight"]
        assert 0.97 * bound < qkv.abs().max().item() <= bound
        assert 0.97 * 0.4 * bound < gate_up.abs().max().item() <= 0.4 * bound
        assert not weights[block + "attention.out.weight"].any()
        assert not weights[block + "feed_forward.down.weight"].any()
        assert (weights[block + "attention.qk_gain"] == 1.2).all()
    classic = GPT(tiny_model("gpt2", width=128, heads=4, bias=True, vocab_size=2000)).initialise(1)
    weights = dict(classic.named_parameters())
    assert weights["embedding.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert weights["blocks.1.feed_forward.down.weight"].std().item() == pytest.approx(0.01, rel=0.02)  # 0.02 / sqrt(4)
    assert not weights["blocks.1.feed_forward.down.bias"].any()
    again = GPT(classic.config).initialise(1)
    assert all(torch.equal(a, b) for a, b in zip(classic.parameters(), again.parameters(), strict=True))


def test_parameters_are_counted_without_padding():
    model = GPT(tiny_model("modern", tied=False))  # 2 layers x 32, 2 heads, 128 hidden, 50 ids
    block = 4 * 32 * 32 + 3 * 32 * 128 + 2 * 32 + 2 * 16
    assert parameter_count(model) == 2 * 50 * 32 + 2 * block + 32
    assert model.embedding.weight.shape == (64, 32)
    classic = GPT(tiny_model("gpt2"))
    assert parameter_count(classic) == (50 + 16) * 32 + 2 * (4 * 32 * 32 + 8 * 32 * 32 + 2 * 32) + 32
    assert parameter_count(GPT(tiny_model("bigram"))) == 2 * 50 * 50 + 50


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cached_step_is_the_uncached_forward(name):
    config = VARIANTS[name]
    model = random_model(config)
    ids = torch.randint(0, VOCAB, (2, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model.hidden(ids)
        cache = Cache(config, 2, torch.device("cpu"))
        positions = torch.arange(16).expand(2, 16)
        parts = [model.step(ids[:, :5], positions[:, :5], 5, cache)]
        parts += [model.step(ids[:, i : i + 1], positions[:, i : i + 1], i + 1, cache) for i in range(5, 16)]
    assert (torch.cat(parts, 1) - expected).abs().max() < 1e-5


def test_a_bigram_model_can_hold_any_table_of_pairs():
    model = GPT(tiny_model("bigram")).eval()
    table = torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(5))  # logits of the next id, by the last
    with torch.no_grad():
        model.embedding.weight[:VOCAB] = torch.eye(VOCAB)  # normed to rows of size sqrt(V)
        model.head.weight[:VOCAB] = table.T / math.sqrt(VOCAB)
        ids = torch.randint(0, VOCAB, (2, 16), generator=torch.Generator().manual_seed(6))
        assert (model(ids)[..., :VOCAB] - table[ids]).abs().max() < 1e-3


@pytest.mark.parametrize("length", [1, 7, SHORT, SHORT + 1, 300])
def test_attention_is_the_formula_forward_and_backward(length):
    shape = (2, 3, length, 8)
    query, key, value, weight = (torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(4))
    results = []
    for dtype, attention in ((torch.float32, attend), (torch.float64, slow_attention)):
        inputs = [t.detach().to(dtype).clone().requires_grad_() for t in (query, key, value)]
        out = attention(*inputs)
        (out * weight.to(dtype)).sum().backward()
        results.append([out.detach(), *(t.grad for t in inputs)])
    for found, expected in zip(*results, strict=True):
        assert (found - expected).abs().max() < 1e-4


def slow_attention(query, key, value):
    """Token by token: softmax over itself and the past."""
    rows = []
    for i in range(query.shape[-2]):
        scores = (query[..., i : i + 1, :] * key[..., : i + 1, :]).sum(-1) / math.sqrt(query.shape[-1])
        rows.append((scores.softmax(-1)[..., None] * value[..., : i + 1, :]).sum(-2))
    return torch.stack(rows, -2)


def test_rotary_tables_are_exact_at_large_positions():
    cosines, sines = rotary_tables(4096, 8, 1e4)
    assert cosines.dtype == torch.float32
    for position, pair in ((0, 0), (1, 3), (4095, 0), (4095, 2)):
        angle = position * 1e4 ** (-2 * pair / 8)
        assert cosines[position, pair].item() == pytest.approx(math.cos(angle), abs=3e-4)
        assert sines[position, pair + 4].item() == pytest.approx(math.sin(angle), abs=3e-4)


def test_the_loss_is_the_sum_over_targets():
    model = random_model(VARIANTS["modern untied"])
    ids = torch.randint(0, VOCAB, (2, 9), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        probabilities = F.softmax(model(ids[:, :-1]).double(), -1)
        expected = sum(-math.log(probabilities[r, i, ids[r, i + 1]]) for r in range(2) for i in range(8))
        assert model.loss_sum(ids[:, :-1], ids[:, 1:]).item() == pytest.approx(expected, rel=1e-5)
