from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.passages import cut, hold_out, side_hash

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def pieces(text: bytes, whole: int = 100, passage: int = 40) -> list[bytes]:
    ends = cut(text, whole, passage)
    return [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def test_a_short_text_is_one_passage():
    assert cut(b"", 100, 40) == [0]
    assert cut(b"x" * 100, 100, 40) == [100]


def test_cuts_fall_on_the_best_end_near_the_wanted_length():
    line, paragraph = b"a line of words here\n", b"p" * 29 + b"\n\n"
    assert pieces(paragraph * 5) == [paragraph] * 5
    assert pieces(line * 6) == [line, line, line, line, line * 2]  # two lines hold 42; a rest up to 60 stays whole
    assert pieces(b"One two. " * 14) == [b"One two. " * 4] * 2 + [b"One two. " * 6]
    assert pieces(b"word " * 22) == [b"word " * 8, b"word " * 8, b"word " * 6]
    assert pieces(b"x" * 101) == [b"x" * 40, b"x" * 40, b"x" * 21]


def test_a_paragraph_end_further_on_goes_before_a_line_end_nearby():
    text = b"short\nlines\nin\none\nlong\nparagraph\nof\nfifty\nbyte\n\n" + b"y" * 70
    assert pieces(text)[0].endswith(b"byte\n\n")


def test_without_an_end_before_the_wanted_length_the_first_one_after_it_counts():
    assert pieces(b"x" * 43 + b"\n\n" + b"x" * 8 + b"\n\n" + b"x" * 60)[0] == b"x" * 43 + b"\n\n"


def test_characters_stay_whole():
    for letter in ("é", "字", "😀"):
        text = letter * 100
        parts = pieces(text.encode())
        assert len(parts) > 1
        assert "".join(part.decode() for part in parts) == text


texts = st.lists(
    st.sampled_from(["a", "é", "字。", "😀", " ", "\n", "\n\n", "\n\n\n", "word ", "End. ", "x" * 30, "y" * 90]),
    max_size=60,
).map("".join)


@settings(deadline=None)
@given(texts, texts, st.integers(64, 200), st.integers(16, 100))
def test_passages_join_back_and_appending_moves_no_end_but_the_last(text, more, whole, passage):
    content, longer = text.encode(), (text + more).encode()
    parts = pieces(content, whole, passage)
    assert b"".join(parts) == content
    for part in parts:
        part.decode()
    if len(parts) > 1:
        assert all(passage // 2 <= len(part) <= passage + passage // 2 for part in parts[:-1])
        assert 0 < len(parts[-1]) <= passage + passage // 2
        assert pieces(longer, whole, passage)[: len(parts) - 1] == parts[:-1]
    if len(content) > whole >= passage + passage // 2:
        assert len(parts) > 1


def test_side_hashes_are_what_they_always_were():
    assert side_hash("book.txt", 0) == 14578048546448851407  # if these change, every split of every corpus changes
    assert side_hash("naïve/名前", 12) == 1112139938027637634


def test_side_hashes_are_spread_evenly():
    hashes = np.array([side_hash(f"{n}.txt", passage) for n in range(500) for passage in range(4)], np.uint64)
    assert len(np.unique(hashes)) == 2000
    tenths = np.bincount((hashes.astype(np.float64) / 2**64 * 10).astype(int), minlength=10)
    assert ((tenths > 140) & (tenths < 260)).all()  # 200 wanted, four and a half standard deviations either way


def slow_hold_out(looks, hashes, sizes, share, need, room):
    """The rule in plain words, one passage at a time."""
    validation, total, full = set(), 0, False
    for look in sorted(set(looks)):
        batch = [i for i in range(len(looks)) if looks[i] == look]
        wanted = [i for i in batch if hashes[i] / 2**64 < share]
        others = sorted((hashes[i], i) for i in batch if i not in wanted)
        while len(validation) + len(wanted) < need and len(wanted) < len(batch) // 2:
            wanted.append(others.pop(0)[1])
        for i in wanted:
            full = full or total + sizes[i] > room
            if not full:
                validation.add(i)
                total += sizes[i]
        if full:
            break
    return [i in validation for i in range(len(looks))]


passages = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 40).map(lambda n: n * 2**58 + n), st.integers(1, 50)), max_size=40
)
SHARES = st.sampled_from([0.0, 0.05, 0.25, 0.5])


def arrays(rows):
    looks, hashes, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(looks, np.int64), np.array(hashes, np.uint64), np.array(sizes, np.int64)


@settings(deadline=None)
@given(passages, SHARES, st.integers(0, 20), st.integers(0, 400))
def test_holding_out_agrees_with_the_rule_taken_one_by_one(rows, share, need, room):
    looks, hashes, sizes = arrays(rows)
    held = hold_out(looks, hashes, sizes, share, need, room)
    assert held.tolist() == slow_hold_out(looks.tolist(), hashes.tolist(), sizes.tolist(), share, need, room)
    assert sizes[held].sum() <= room


@settings(deadline=None)
@given(passages, passages, SHARES, st.integers(0, 20), st.integers(0, 400))
def test_a_later_look_changes_no_earlier_decision(rows, later, share, need, room):
    grown = rows + [(look + 5, code, size) for look, code, size in later]
    before = hold_out(*arrays(rows), share, need, room)
    after = hold_out(*arrays(grown), share, need, room)
    assert after[: len(rows)].tolist() == before.tolist()


def test_the_limits_by_hand():
    looks = np.array([1] * 6 + [2] * 4)
    hashes = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], np.uint64) * np.uint64(2**60)
    sizes = np.full(10, 10)

    def chosen(share, need, room):
        return np.flatnonzero(hold_out(looks, hashes, sizes, share, need, room)).tolist()

    assert chosen(0.0, 0, 1000) == []
    assert chosen(0.2, 0, 1000) == [6, 7, 8, 9]  # 3.2 of 16 sixteenths: the base rule may take a whole batch
    assert chosen(0.0, 2, 1000) == [4, 5]  # the first look settles it
    assert chosen(0.0, 9, 1000) == [3, 4, 5, 8, 9]  # half of either batch
    assert chosen(0.0, 9, 35) == [3, 4, 5]
    assert chosen(0.2, 0, 29) == [6, 7]
    assert chosen(0.2, 0, 30) == [6, 7, 8]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample folder is not there")
def test_a_whole_book_is_cut_at_paragraph_ends():
    book = (SHARED / "gutenberg" / "2600-0.txt").read_text(encoding="utf-8-sig").encode()  # universal line ends
    parts = pieces(book, 16_000, 4_000)
    assert b"".join(parts) == book
    assert 3_000 < len(book) / len(parts) < 4_500
    assert sum(part.endswith(b"\n\n") for part in parts[:-1]) > 0.99 * len(parts)
