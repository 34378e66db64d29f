"""Batches: shuffles, coverage of every document, the pure function of (seed, step); against slow obvious versions."""

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpt.batches
from gpt.arrays import TokenShard
from gpt.batches import Batches, Source, take_turn
from gpt.errors import GPTError
from gpt.shuffle import derive, mix, shuffled
from tests.gpt_toys import EOT, documents, shard


@given(st.integers(1, 700), st.integers(0, 2**62))
def test_a_shuffle_gives_every_value_once(length, seed):
    order = shuffled(np.arange(length), length, seed)
    assert sorted(order.tolist()) == list(range(length))
    assert order[-1] == shuffled(np.array([length - 1]), length, seed)[0]  # position by position, no state


def test_shuffles_of_few_values_are_even():
    orders = Counter(tuple(shuffled(np.arange(4), 4, derive(seed)).tolist()) for seed in range(4800))
    assert len(orders) == 24
    assert all(120 < count < 290 for count in orders.values())  # 200 expected, standard deviation 14


def test_seeds_derived_in_whole_numbers_and_in_words_agree():
    parts = (7, 2**63 - 1, 0, 12)
    state = np.zeros(1, np.uint64)
    for part in parts:
        state = mix(state + np.uint64(part) + np.uint64(0x9E3779B97F4A7C15))
    assert derive(*parts) == int(state[0]) >> 1


def joined(texts):
    return [token for text in texts for token in text]


def numbered(count, seed=0):
    """Documents whose tokens are all different, so that each can be traced."""
    generator = np.random.default_rng(seed)
    made, following = [], 1
    for size in generator.integers(1, 40, count).tolist():
        made.append([EOT, *range(following, following + size)])
        following += size
    return made


@pytest.mark.parametrize(("count", "context"), [(40, 8), (40, 7), (3, 5), (1, 4), (200, 64)])
def test_an_epoch_covers_every_token_of_every_document(monkeypatch, count, context):
    monkeypatch.setattr(gpt.batches, "BLOCK_DOCUMENTS", 16)
    texts = numbered(count) if count > 1 else [[EOT, *range(1, 30)]]
    source = Source("made-up", [shard(texts[: count // 2]), shard(texts[count // 2 :])], context, 5)
    follows = {a: b for text in texts for a, b in itertools.pairwise(text[1:])}
    firsts = {text[1] for text in texts}
    first_of_epoch = set()
    for epoch in range(3):
        windows = source.take(np.arange(source.windows) + epoch * source.windows)
        assert windows.shape == (source.windows, context + 1)
        targets = Counter(windows[:, 1:].flatten().tolist())
        assert set(targets) >= set(joined(texts)) - {EOT}
        assert sum(targets.values()) <= len(joined(texts)) + 2 * context  # hardly anything twice
        for window in windows.tolist():  # inside a document the order is the text's, and a document begins with EOT
            for a, b in itertools.pairwise(window):
                assert b == EOT or (b in firsts if a == EOT else follows.get(a) == b)
        first_of_epoch.add(tuple(windows[0].tolist()))
    if count > 3:
        assert len(first_of_epoch) == 3  # each epoch has an order of its own


def slow_windows(texts, context, seed, epoch, block):
    """The documented recipe, with lists: blocks shuffled, documents within blocks, joined, cut, windows shuffled."""
    epoch_seed = derive(seed, epoch)
    blocks = [list(range(i, min(i + block, len(texts)))) for i in range(0, len(texts), block)]
    stream = []
    for index in shuffled(np.arange(len(blocks)), len(blocks), derive(epoch_seed, 0)).tolist():
        members = blocks[index]
        for place in shuffled(np.arange(len(members)), len(members), derive(epoch_seed, 3, index)).tolist():
            stream += texts[members[place]]
    count = -(-(len(stream) - 1) // context) + 1
    windows = []
    for index in shuffled(np.arange(count), count, derive(epoch_seed, 1)).tolist():
        start = min(max(index * context - derive(epoch_seed, 2) % context, 0), len(stream) - context - 1)
        windows.append(stream[start : start + context + 1])
    return windows


def test_windows_agree_with_the_slow_recipe(monkeypatch):
    monkeypatch.setattr(gpt.batches, "BLOCK_DOCUMENTS", 8)
    texts = documents(50, seed=3)
    source = Source("made-up", [shard(texts)], 12, 99)
    for epoch in range(2):
        numbers = np.arange(source.windows) + epoch * source.windows
        assert source.take(numbers).tolist() == slow_windows(texts, 12, 99, epoch, 8)
        backwards = source.take(numbers[::-1])
        assert backwards[::-1].tolist() == source.take(numbers).tolist()


def slow_turns(shares, rows):
    """Each source in turn takes its whole-number part of the rows that reach it."""
    seen = [0] * (len(shares) + 1)
    reached = [0] * len(shares)
    turns = []
    for _ in range(rows):
        for source, share in enumerate(shares):
            before = reached[source] * share // 2**24
            reached[source] += 1
            if reached[source] * share // 2**24 > before:
                break
        else:
            source = len(shares)
        turns.append((source, seen[source]))
        seen[source] += 1
    return turns


@given(st.lists(st.integers(1, 2**24 - 1), min_size=0, max_size=3))
def test_turns_agree_with_counting(shares):
    assert [take_turn(row, shares) for row in range(300)] == slow_turns(shares, 300)


def test_sources_take_turns_by_weight():
    sources = {name: [shard(documents(30, seed))] for name, seed in (("a", 1), ("b", 2), ("c", 3))}
    batches = Batches(sources, {"a": 1.0, "b": 5.0, "c": 2.0}, 8, 16, 50, seed=1)
    counts = Counter(source for step in range(100) for source, _ in batches.rows(step))
    assert [counts[i] for i in range(3)] == pytest.approx([200, 1000, 400], abs=3)
    for step in range(100):  # evenly spread: every batch has its share
        in_batch = Counter(source for source, _ in batches.rows(step))
        assert abs(in_batch[1] - 10) <= 1
    for wanted in range(3):  # and every source's windows come in their own order, none left out
        numbers = [n for step in range(100) for source, n in batches.rows(step) if source == wanted]
        assert numbers == list(range(len(numbers)))


def test_a_batch_depends_on_seed_and_step_alone():
    sources = {"a": [shard(documents(30, 1))], "b": [shard(documents(30, 2))]}
    weights = {"a": 1.0, "b": 3.0}
    one = Batches(sources, weights, 8, 6, 50, seed=1)
    other = Batches(sources, weights, 8, 6, 50, seed=1)
    in_order = [one.batch(step).tolist() for step in range(60)]
    backwards = [other.batch(step).tolist() for step in reversed(range(60))]
    assert in_order == backwards[::-1]
    assert Batches(sources, weights, 8, 6, 50, seed=2).batch(0).tolist() != in_order[0]
    # the same rows come in the same order whatever the size of the batch
    doubled = Batches(sources, weights, 8, 12, 50, seed=1)
    assert [row for step in range(30) for row in doubled.batch(step).tolist()] == [r for b in in_order for r in b]


def test_a_source_that_is_too_short_or_foreign_is_refused():
    with pytest.raises(GPTError, match=r"Source tiny has 6 training tokens.* 9"):
        Batches({"tiny": [shard([[EOT, 1, 2, 3, 4, 5]])]}, {"tiny": 1.0}, 8, 2, 50, seed=1)
    with pytest.raises(GPTError, match="No source holds any training text"):
        Batches({"empty": [shard([])]}, {"empty": 1.0}, 8, 2, 50, seed=1)
    foreign = Batches({"a": [shard([[EOT, 1, 2, 77, 4, 5, 6]])]}, {"a": 1.0}, 4, 2, 50, seed=1)
    with pytest.raises(GPTError, match=r"id 77, .* 50"):
        foreign.batch(0)


def test_ten_million_documents_cost_little_memory(tmp_path):
    count = 10_000_000
    np.save(tmp_path / "starts.npy", np.arange(count + 1, dtype=np.int64) * 4)
    np.lib.format.open_memmap(tmp_path / "tokens.npy", "w+", np.uint16, (count * 4,)).flush()  # a sparse file of zeros
    big = TokenShard(
        tmp_path, np.load(tmp_path / "tokens.npy", mmap_mode="r"), np.load(tmp_path / "starts.npy", mmap_mode="r")
    )
    tracemalloc.start()
    source = Source("big", [big], 64, 1)
    source.take(np.arange(500))
    assert tracemalloc.get_traced_memory()[1] < 20e6  # the list of documents alone would take 80 MB
    tracemalloc.stop()
