import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.arrays import UnusableArrayError, hash_ranges
from data.near import bands, join
from data.near.bands import BandTable, band_hashes, signature_bytes, write_bands
from data.near.config import NearConfig
from data.near.join import NearIndex, merged
from data.near.signatures import near_signatures
from tests.near_toys import edited, jaccard, runs, words, write_slots

CONFIG = NearConfig()
SMALL = NearConfig(values=16, bands=8, rows=2, threshold=0.6)
SHARED = Path(__file__).parents[2] / "shared" / "data"


def matches(folders, wanted, config=CONFIG, ranges=1):
    index = NearIndex(folders, wanted, config)
    found = merged([index.join(range_) for range_ in hash_ranges(ranges)])
    return list(zip(*(column.tolist() for column in found), strict=True))


def obvious(slots, config):
    """One document after the other, with buckets as lists in a dictionary."""
    buckets, found = {}, []
    for slot, signatures in enumerate(slots):
        for row, (its_bands, values) in enumerate(
            zip(band_hashes(signatures, config).tolist(), signature_bytes(signatures).tolist(), strict=True)
        ):
            similar = []
            for hash_ in its_bands:
                for earlier in buckets.get(hash_, [])[:8]:
                    equal = sum(a == b for a, b in zip(values, earlier[2], strict=True)) / len(values)
                    if (equal - 1 / 256) / (255 / 256) >= config.threshold:
                        similar.append((earlier[0], earlier[1], (equal - 1 / 256) / (255 / 256)))
                buckets.setdefault(hash_, []).append((slot, row, values))
            if similar:
                found.append((slot, row, *min(similar)))
    return found


# signatures of few different values, so that buckets are full and estimates of every size
ONE = st.tuples(st.integers(0, 3), st.lists(st.integers(0, 15), max_size=12)).map(
    lambda made: [made[0] if at not in made[1] else 7 for at in range(16)]
)


@settings(deadline=None, max_examples=80)
@given(slots=st.lists(st.lists(ONE, max_size=14), min_size=1, max_size=4), ranges=st.integers(1, 9), data=st.data())
def test_matches_agree_with_a_dictionary_whatever_is_wanted_together(tmp_path_factory, slots, ranges, data):
    folder = tmp_path_factory.mktemp("slots")
    arrays = [np.array(slot, np.uint32).reshape(-1, 16) for slot in slots]
    folders = [folder / str(number) for number in range(len(slots))]
    for array, out in zip(arrays, folders, strict=True):
        out.mkdir()
        write_bands(array, SMALL, out)
    expected = obvious(arrays, SMALL)
    wanted = data.draw(st.sets(st.integers(0, len(slots) - 1)))
    found = matches(folders, wanted, SMALL, ranges)
    assert found == [pytest.approx(one) for one in expected if one[0] in wanted]


def test_planted_copies_are_found_and_strangers_are_not(tmp_path):
    """Against brute force: recall at least 0.95 from 0.85 on, and nothing below 0.5 matches."""
    rng = random.Random(3)
    originals = [words(rng.choice([30, 120, 500]), rng) for _ in range(400)]
    copies = [edited(text, 1 + rng.randrange(max(2, len(text) // 12)), rng) for text in originals]
    slots = [
        [" ".join(text) for text in part] for part in (originals[:200], originals[200:], copies[:150], copies[150:])
    ]
    true = [jaccard(*pair) for pair in zip(slots[0] + slots[1], slots[2] + slots[3], strict=True)]
    found = matches(write_slots(tmp_path, slots), {0, 1, 2, 3})
    paired = {}
    for slot, row, earlier_slot, earlier_row, estimate in found:
        similarity = jaccard(slots[slot][row], slots[earlier_slot][earlier_row])
        assert similarity > 0.6
        assert abs(estimate - similarity) < 0.12
        paired[(slot, row)] = (earlier_slot, earlier_row)
    places = [(2, number) if number < 150 else (3, number - 150) for number in range(400)]
    near = [number for number in range(400) if true[number] >= 0.85]
    recalled = [paired.get(places[number]) == divmod(number, 200) for number in near]
    assert 50 < len(near) < 350
    assert np.mean(recalled) >= 0.95


def test_texts_around_a_half_never_match(tmp_path):
    rng = random.Random(4)
    texts = [words(300, rng) for _ in range(300)]
    halves = [text[:200] + words(100, rng) for text in texts]  # 196 of 396 runs are shared
    folders = write_slots(tmp_path, [[" ".join(text) for text in texts], [" ".join(text) for text in halves]])
    assert matches(folders, {0, 1}) == []


def test_appending_changes_no_earlier_answer(tmp_path):
    rng = random.Random(5)
    pool = [words(400, rng) for _ in range(30)]
    slots = [[" ".join(edited(rng.choice(pool), 2, rng)) for _ in range(40)] for _ in range(5)]
    folders = write_slots(tmp_path, slots)
    first = matches(folders[:3], {0, 1, 2})
    whole = matches(folders, {0, 1, 2, 3, 4}, ranges=5)
    assert len(first) > 50
    assert [one for one in whole if one[0] < 3] == first
    assert matches(folders, {3, 4}) == [one for one in whole if one[0] >= 3]
    assert matches(folders, {4}, ranges=3) == [one for one in whole if one[0] == 4]


def test_documents_without_words_match_nothing(tmp_path):
    folders = write_slots(tmp_path, [["", "..."], ["", "one word", "!"], ["One, word"]])
    assert [one[:4] for one in matches(folders, {0, 1, 2})] == [(2, 0, 1, 1)]
    assert matches(folders, set()) == []


def test_a_hot_bucket_costs_at_most_eight_comparisons_each(tmp_path, monkeypatch):
    signatures = np.random.default_rng(0).integers(0, 1 << 28, (3000, 256), dtype=np.uint32)
    signatures[:, :8] = 5  # all agree in the first band, and in nothing else
    write_bands(signatures, CONFIG, tmp_path)
    compared = []
    monkeypatch.setattr(join, "similarities", lambda a, b: compared.append(len(a)) or bands.similarities(a, b))
    assert matches([tmp_path], {0}) == []
    assert sum(compared) == 8 * 3000 - 36  # the first has none before it, the second one, and so on


def test_older_slots_are_read_only_where_wanted_ones_have_hashes(tmp_path):
    rng = random.Random(6)
    texts = [" ".join(words(50, rng)) for _ in range(60)]
    folders = write_slots(tmp_path, [texts[:30], texts[30:], [texts[7]]])
    index = NearIndex(folders, {2}, CONFIG)
    entries = index._read(next(hash_ranges(1)))
    assert np.bincount(entries.slots).tolist() == [14, 0, 14]


def test_ranges_follow_from_what_the_tables_hold(tmp_path, monkeypatch):
    folders = write_slots(tmp_path, [["a b c", "d e f"], ["g"]])
    assert len(NearIndex(folders, {1}, CONFIG).ranges()) == 1
    monkeypatch.setattr(join, "_ENTRIES_AT_ONCE", 10)
    ranges = NearIndex(folders, {1}, CONFIG).ranges()
    assert len(ranges) == 5  # 3 documents of 14 bands
    assert ranges[0][0] == 0 and ranges[-1][1] == 2**64 - 1
    assert all(left[1] + 1 == right[0] for left, right in pairwise(ranges))


@pytest.mark.parametrize("size", [0, 100])
def test_a_table_is_in_order_and_whole(tmp_path, size):
    signatures = near_signatures([f"text number {number}" for number in range(size)] + ["."], CONFIG)
    write_bands(signatures, CONFIG, tmp_path)
    table = BandTable(tmp_path, CONFIG)
    pairs = sorted((h, row) for row, its in enumerate(band_hashes(signatures[:size], CONFIG).tolist()) for h in its)
    assert list(zip(table.hashes.tolist(), table.rows.tolist(), strict=True)) == pairs
    assert table.rows.dtype == np.uint32 and table.signatures.shape == (size + 1, 256)
    if size:
        low, high = pairs[200][0], pairs[300][0]
        assert list(zip(*(part.tolist() for part in table.read((low, high))), strict=True)) == pairs[200:301]


def test_damaged_tables_are_refused_by_name(tmp_path):
    (folder,) = write_slots(tmp_path, [["some words of a text"]])
    np.save(folder / bands.ROWS_FILE, np.zeros(3, np.uint32))
    with pytest.raises(UnusableArrayError, match=r"14 hashes of bands for 3 rows.*rebuilt"):
        BandTable(folder, CONFIG)
    np.save(folder / bands.HASHES_FILE, np.zeros(3, np.int64))
    with pytest.raises(UnusableArrayError, match=r"near-hashes\.npy holds int64"):
        BandTable(folder, CONFIG)
    (folder / bands.HASHES_FILE).write_bytes(b"")
    with pytest.raises(UnusableArrayError, match=r"near-hashes\.npy is no array"):
        BandTable(folder, CONFIG)


def test_a_band_is_equal_where_its_values_are():
    left = np.arange(256, dtype=np.uint32)[None]
    right = left.copy()
    right[0, [0, 15, 40]] += 1
    equal = (band_hashes(left, CONFIG) == band_hashes(right, CONFIG))[0]
    assert equal.tolist() == [band not in (0, 1, 5) for band in range(14)]
    same_values = band_hashes(np.zeros((1, 256), np.uint32), CONFIG)
    assert len(set(same_values[0].tolist())) == 14  # the band's number counts


@pytest.mark.skipif(not (SHARED / "gutenberg").is_dir(), reason="the sample folder is not there")
def test_two_editions_of_a_book_match_as_wholes_and_paragraph_by_paragraph(tmp_path):
    paths = SHARED / "sherlock.txt", SHARED / "gutenberg" / "pg1661_current.txt"
    texts = [path.read_text(encoding="utf-8-sig") for path in paths]
    books = matches(write_slots(tmp_path / "books", [[text] for text in texts]), {1})
    assert [one[:4] for one in books] == [(1, 0, 0, 0)]
    old, new = ([part for part in text.split("\n\n") if len(part.split()) >= 20] for text in texts)
    known = [runs(text, 5) for text in old]
    copied = {row for row, text in enumerate(new) if runs(text, 5) in known}
    found = matches(write_slots(tmp_path / "paragraphs", [old, new]), {1})
    assert len(copied) > 1000
    assert copied <= {row for _, row, *_ in found}
    for _, row, slot, earlier, _ in found:
        assert jaccard(new[row], (old, new)[slot][earlier]) > 0.6
