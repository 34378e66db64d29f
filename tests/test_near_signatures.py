import hashlib
import random
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.near import shingles, signatures
from data.near.bands import band_hashes
from data.near.config import NearConfig
from data.near.shingles import shingles_of
from data.near.signatures import NOTHING, near_signatures
from tests.near_toys import edited, jaccard, words

CONFIG = NearConfig()
CHARACTERS = st.sampled_from("aAbÀàßẞIİié1 \n\t.-'\u0301中ไ_\ud800")
TEXTS = st.lists(st.text(CHARACTERS, max_size=30) | st.text(max_size=20), max_size=6)


def obvious_words(text: str) -> list[str]:
    """Character by character; every Chinese or Thai one is alone."""
    found, inside = [], False
    for one in text:
        if not (one.isalnum() or unicodedata.category(one)[0] == "M"):
            inside = False
        elif any(low <= ord(one) <= high for low, high in ((0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF),
                 (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
                 (0x20000, 0x31FFF))):  # fmt: skip
            found.append(one)
            inside = False
        else:
            found[-1:] = [found[-1] + one.lower()] if inside else [*found[-1:], one.lower()]
            inside = True
    return found


@settings(deadline=None, max_examples=150)
@given(TEXTS, st.integers(1, 4))
@example(["a b c", "a b", "b c", "", "A  B", "ab c", "a.b.c.d"], 2)
@example(["..", "a", ""], 3)
@example(["중국 a中b中 c"], 2)
def test_runs_are_equal_where_their_words_are(texts, size):
    found = shingles_of(texts, size)
    expected = []
    for text in texts:
        its = obvious_words(text)
        expected.append([tuple(its[at : at + size]) for at in range(max(1, len(its) - size + 1))] if its else [])
    assert np.diff(found.bounds).tolist() == [len(its) for its in expected]
    flat = [run for its in expected for run in its]
    named = dict(zip(flat, found.hashes.tolist(), strict=True))
    assert [named[run] for run in flat] == found.hashes.tolist()  # equal runs have one hash
    assert len(set(named.values())) == len(named)  # different runs have different ones


def test_a_run_shorter_than_the_size_is_unlike_the_beginning_of_a_longer_one():
    short, long = shingles_of(["a b"], 5).hashes, shingles_of(["a b c d e f"], 5).hashes
    assert len(short) == 1 and len(long) == 2 and short[0] not in long


def test_a_long_text_read_in_pieces_has_the_same_runs(monkeypatch):
    texts = [" ".join(words(500, random.Random(0))), "x" * 30, "", "日本語" * 40]
    whole = shingles_of(texts, 5)
    monkeypatch.setattr(shingles, "_CHARACTERS_AT_ONCE", 50)
    pieces = shingles_of(texts, 5)
    assert pieces.hashes.tolist() == whole.hashes.tolist()
    assert pieces.bounds.tolist() == whole.bounds.tolist()


def test_a_signature_depends_on_its_text_alone(monkeypatch):
    rng = random.Random(1)
    texts = [" ".join(words(count, rng)) for count in (0, 1, 3, 5, 6, 40, 41, 300, 1000, 7000)]
    together = near_signatures(texts, CONFIG)
    assert together.dtype == np.uint32 and together.shape == (10, 256)
    alone = np.concatenate([near_signatures([text], CONFIG) for text in texts])
    assert (together == alone).all()
    monkeypatch.setattr(signatures, "_RUNS_AT_ONCE", 64)
    monkeypatch.setattr(signatures, "_TEXTS_IN_FILLING", 2)
    assert (near_signatures(texts[::-1], CONFIG)[::-1] == together).all()


def test_only_texts_without_words_have_an_empty_value():
    found = near_signatures(["", " .,- ", "a", "a b c", "word " * 300], CONFIG)
    assert (found[:2] == NOTHING).all()
    assert (found[2:] != NOTHING).all()
    assert near_signatures([], CONFIG).shape == (0, 256)


def test_what_does_not_count():
    texts = ["Call me Ishmael. Some years ago, never mind", "call  me\n“ISHMAEL”: some years—ago ... never_mind?"]
    left, right = near_signatures(texts, CONFIG)
    assert (left == right).all()
    once, twice = near_signatures(["a b c d e f a b c d", "a b c d e f a b c d e f a b c d"], CONFIG)
    assert (once == twice).all()  # the same runs, as sets


@pytest.mark.parametrize("count", [12, 60, 400, 1500])
def test_the_share_of_equal_values_is_the_jaccard_similarity(count):
    """Over all pairs the mean error is below three of its standard deviations, and no estimate is far off."""
    rng = random.Random(count)
    pairs = []
    for edits in range(1, 161):
        text = words(count, rng)
        pairs.append((" ".join(text), " ".join(edited(text, 1 + edits * count // 1600, rng))))
    true = np.array([jaccard(*pair) for pair in pairs])
    found = near_signatures([text for pair in pairs for text in pair], CONFIG)
    errors = (found[::2] == found[1::2]).mean(axis=1) - true
    spread = np.sqrt(true * (1 - true) / CONFIG.values)
    assert abs(errors.mean()) < 3 * np.sqrt((spread**2).mean() / len(pairs))
    assert (abs(errors) < 4.5 * spread + 1e-9).all()
    assert true.min() < 0.6 and true.max() > 0.8


def test_signatures_never_change():
    """They and what bands make of them are in artifacts: other ones need a new version of the documents stage."""
    texts = [
        "",
        "one",
        "two words",
        "The quick brown fox jumps over the lazy dog.",
        "Ä é 中文字 ไทย İ 42",
        "a b c " * 500,
    ]
    texts.append(" ".join(str(number) for number in range(3000)))
    found = near_signatures(texts, CONFIG)
    assert hashlib.sha256(band_hashes(found, CONFIG).astype("<u8").tobytes()).hexdigest()[:16] == "92c13ddadedb41fa"
    assert hashlib.sha256(found.astype("<u4").tobytes()).hexdigest()[:16] == "9cccc60c94c976ec"


@pytest.mark.parametrize(
    "wrong", [{"bands": 33}, {"rows": 19}, {"threshold": 0.4}, {"shingle_words": 0}, {"permutations": 128}]
)
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        NearConfig(**wrong)
