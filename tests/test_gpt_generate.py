"""Generation: filters against explicit probabilities, caches against reading anew, batches against single prompts."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gpt.errors import GPTError
from gpt.generate import choose, continuations, decode, stream, visible
from gpt.model import GPT
from gpt.weights import load_model, save_model
from tests.gpt_toys import EOT, VOCAB, random_model, tiny_model

ARGUMENTS = {"tokens": 40, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def toy(preset: str = "modern", **changes) -> GPT:
    """Spread-out logits without a liking for the end-of-text id."""
    return random_model(tiny_model(preset, **changes), seed=11)


def allowed(logits: list[float], temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    """The distribution spelt out: sort, keep k, softmax, keep the fewest that reach p, normalise."""
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: top_k or len(logits)]
    weights = [math.exp((logits[i] - logits[ranked[0]]) / temperature) for i in ranked]
    kept, reached = {}, 0.0
    for i, weight in zip(ranked, weights, strict=True):
        if reached >= top_p:
            break
        kept[i] = weight / sum(weights)
        reached += kept[i]
    return {i: p / reached for i, p in kept.items()}


@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=12),
    st.sampled_from([0.3, 1.0, 2.5]),
    st.integers(0, 14),
    st.sampled_from([0.05, 0.5, 0.93, 1.0]),
)
@example([0, 0, 0, 0], 1.0, 0, 0.5)  # two of four reach a half exactly
def test_draws_follow_the_filtered_distribution(tenths, temperature, top_k, top_p):
    logits = [t / 10 for t in tenths]
    expected = allowed(logits, temperature, top_k, top_p)
    # evenly spaced "random" numbers meet every id in proportion to its probability
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    drawn = Counter(choose(torch.tensor([logits]).expand(2000, -1), temperature, top_k, top_p, grid))
    for i in range(len(logits)):
        assert drawn[i] / 2000 == pytest.approx(expected.get(i, 0), abs=2e-3)


def test_extreme_random_numbers_draw_likely_ids_only():
    logits = torch.tensor([[0.0, -200.0, 3.0, -300.0]] * 2)
    assert choose(logits, 1.0, 0, 1.0, torch.tensor([0.0, 1.0 - 1e-16], dtype=torch.float64)) == [2, 0]


def test_temperature_zero_takes_the_likeliest():
    model = toy()
    ids = list(stream(model, [5, 6], 20, temperature=0, eot_id=EOT))
    sequence = [EOT, 5, 6]
    for token in ids[:13]:
        with torch.no_grad():
            assert token == int(model(torch.tensor([sequence]))[0, -1, :VOCAB].argmax())
        sequence.append(token)


@pytest.mark.parametrize("preset", ["modern", "gpt2", "bigram"])
@pytest.mark.parametrize("tied", [True, None])
def test_cached_decoding_is_uncached_decoding(preset, tied):
    model = toy(preset, tied=tied)
    prompts = [[7], [], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]]  # the last is too long
    for temperature in (0, 1.0):
        arguments = (prompts, 40, temperature, 20, 0.95, [1, 2, 3], EOT)
        cached, plain = list(decode(model, *arguments)), list(decode(model, *arguments, cached=False))
        assert cached == plain
        assert len(cached) > 20  # past the context of 16


@pytest.mark.parametrize("preset", ["modern", "gpt2", "bigram"])
def test_a_ragged_batch_gives_what_single_prompts_give(preset):
    model = toy(preset)
    prompts, seeds = [[3], [4, 5, 6, 7, 8], [], [EOT, 9]], [4, 5, 6, 7]
    together = continuations(model, prompts, **ARGUMENTS, seeds=seeds, eot_id=EOT)
    alone = [
        list(stream(model, prompt, **ARGUMENTS, seed=seed, eot_id=EOT))
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    assert together == alone
    assert len({tuple(ids) for ids in together}) == 4
    assert all(EOT not in ids for ids in together)


def test_a_continuation_ends_before_the_end_of_text():
    model = toy()
    with torch.no_grad():
        model.head.weight[EOT] = model.head.weight[7] * 1.01  # now and then the end is drawn
    alone = [list(stream(model, [3], 200, 1.0, 0, 1.0, seed, EOT)) for seed in range(8)]
    assert min(map(len, alone)) < max(map(len, alone))
    together = continuations(model, [[3]] * 8, 200, 1.0, 0, 1.0, range(8), EOT)
    assert together == alone  # whoever has ended stays so while others go on
    assert all(EOT not in ids for ids in together)


def test_the_same_seed_draws_the_same_and_another_does_not():
    model = toy()
    one, same, other = (list(stream(model, [3], **ARGUMENTS, seed=seed, eot_id=EOT)) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("preset", ["modern", "bigram"])
def test_no_padding_id_is_ever_drawn(preset, tmp_path):
    model = toy(preset)
    assert model.config.padded_vocab > VOCAB
    with torch.no_grad():
        model.head.weight[VOCAB:] = 100 * model.head.weight[5]  # padding rows that scream
    for temperature in (0, 50.0):
        ids = list(stream(model, [5], 60, temperature, 0, 1.0, 3, EOT))
        assert ids and max(ids) < VOCAB
    save_model(tmp_path, model.config, model.state_dict())
    loaded = load_model(tmp_path)
    assert not loaded.head.weight[VOCAB:].any()
    inputs = torch.arange(10)[None]
    with torch.no_grad():
        assert torch.equal(loaded(inputs)[..., :VOCAB], model(inputs)[..., :VOCAB])


@given(st.integers(1, 200), st.integers(2, 40))
def test_the_visible_past_fills_the_context_and_falls_back_to_half(length, context):
    seen = 0
    for size in range(1, length + 1):  # one id at a time
        seen = seen + 1 if seen < context else max(1, context // 2)
        if size == length:
            assert visible(length, context) == seen


def test_an_id_out_of_range_is_refused():
    with pytest.raises(GPTError, match=r"id 50, .* 0 to 49"):
        list(stream(toy(), [3, 50], 5, eot_id=EOT))


def test_uniform_draws_come_from_numpys_seeded_generator():
    """The stream of a seed is part of what `sample` promises: the same on every machine."""
    logits = torch.zeros(1, 10)
    first = np.random.default_rng(5).random()
    assert choose(logits, 1.0, 0, 1.0, torch.tensor([first])) == [int(first * 10)]
