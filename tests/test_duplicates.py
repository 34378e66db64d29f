import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.duplicates import UnusableSignaturesError, exact_duplicates


def write_slots(folder, slots):
    paths = []
    for number, slot in enumerate(slots):
        path = folder / f"signatures-{number}.npy"
        np.save(path, np.array(slot, np.uint64).reshape(-1, 2))
        paths.append(path)
    return paths


def run(folder, slots):
    out = folder / "out"
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    facts = exact_duplicates(write_slots(folder, slots), out)
    matches = pq.read_table(out / "matches.parquet").to_pylist() if (out / "matches.parquet").exists() else []
    drops = np.load(out / "drops.npy")
    assert drops.dtype == np.int64
    return drops.tolist(), [tuple(match.values()) for match in matches], facts.counts


# few values and many equal upper halves, so that every kind of near miss turns up
signature = st.tuples(st.sampled_from([0, 1, 2**64 - 1]), st.sampled_from([0, 1, 2, 2**64 - 1]))


@settings(deadline=None)
@given(slots=st.lists(st.lists(signature, max_size=8), min_size=1, max_size=4))
def test_drop_lists_agree_with_a_dictionary(tmp_path_factory, slots):
    first_seen, drops, matches = {}, [], []
    for number, slot in enumerate(slots):
        for row, value in enumerate(slot):
            if number == len(slots) - 1 and value in first_seen:
                drops.append(row)
                matches.append((row, *first_seen[value]))
            first_seen.setdefault(value, (number, row))
    folder = tmp_path_factory.getbasetemp() / "dictionary"
    folder.mkdir(exist_ok=True)
    found, found_matches, counts = run(folder, slots)
    assert found == drops
    assert found_matches == matches
    within = sum(slot == len(slots) - 1 for _, slot, _ in matches)
    assert counts == {
        "documents_in": len(slots[-1]),
        "documents_out": len(slots[-1]) - len(drops),
        "duplicates_dropped": len(drops),
        "duplicates_of_earlier_slots": len(drops) - within,
        "duplicates_within_slot": within,
    }


def test_an_earlier_slot_is_compared_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("data.duplicates._CHUNK", 3)
    earlier = [(0, n % 5) for n in range(10)]
    assert run(tmp_path, [earlier, [(0, 4), (0, 9), (0, 2)]])[:2] == ([0, 2], [(0, 0, 4), (2, 0, 2)])


def test_nothing_to_drop_leaves_an_empty_list_and_no_matches(tmp_path):
    assert run(tmp_path, [[], [(1, 2)], []])[:2] == ([], [])
    assert not (tmp_path / "out" / "matches.parquet").exists()
    assert run(tmp_path, [[], [(1, 2)]])[:2] == ([], [])


@pytest.mark.parametrize("array", [np.zeros((3, 2), np.int64), np.zeros(4, np.uint64)])
def test_other_arrays_are_refused_by_name(tmp_path, array):
    path = tmp_path / "signatures.npy"
    np.save(path, array)
    with pytest.raises(UnusableSignaturesError, match=r"signatures\.npy holds .*rebuilt"):
        exact_duplicates([path], tmp_path)


def test_a_cut_file_is_refused_by_name(tmp_path):
    path = tmp_path / "signatures.npy"
    np.save(path, np.zeros((100, 2), np.uint64))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UnusableSignaturesError, match=r"signatures\.npy"):
        exact_duplicates([path], tmp_path)
