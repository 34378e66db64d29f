"""Clusters of duplicates: against joining sets one by one, and the files that matches are read from."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clusters import ForeignMatchesError, Links, find_clusters, read_links
from data.duplicates import MATCHES_FILE
from data.shards import DOCUMENTS as DOCUMENTS_SCHEMA
from data.shards import MATCHES, NEAR_MATCHES, DamagedShardError, ShardWriter, pick_rows, table_of


def links(pairs, count=1000):
    dropped, earlier = (np.array(column, np.int64) for column in zip(*pairs, strict=True)) if pairs else ([], [])
    none = np.full(len(pairs), np.nan, np.float32)
    return Links(np.array([0, count]), np.array(dropped, np.int64), np.array(earlier, np.int64), none)


def joined(pairs):
    """Sets joined one by one: {earliest document: members}."""
    sets = {}
    for dropped, earlier in pairs:
        ours, theirs = sets.get(dropped, {dropped}), sets.get(earlier, {earlier})
        for member in (union := ours | theirs):
            sets[member] = union
    return {min(one): one for one in sets.values()}


PAIRS = st.dictionaries(st.integers(1, 60), st.integers(0, 59)).map(
    lambda found: sorted((dropped, earlier % dropped) for dropped, earlier in found.items())
)


@given(PAIRS)
def test_clusters_are_what_joining_sets_one_by_one_gives(pairs):
    clusters = find_clusters(links(pairs))
    expected = joined(pairs)
    assert dict(zip(clusters.kept.tolist(), clusters.sizes.tolist(), strict=True)) == {
        kept: len(members) for kept, members in expected.items()
    }
    assert [min(next(m for m in expected.values() if d in m)) for d, _ in pairs] == clusters.of.tolist()
    order = list(zip((-clusters.sizes).tolist(), clusters.kept.tolist(), strict=True))
    assert order == sorted(order)


def test_a_long_chain_of_copies_is_one_cluster():
    clusters = find_clusters(links([(n, n - 1) for n in range(1, 1000)]))
    assert (clusters.kept.tolist(), clusters.sizes.tolist()) == ([0], [1000])


def test_sizes_are_counted_by_powers_of_two():
    pairs, kept = [], 0
    for size in (2, 3, 4, 7, 8, 2):
        pairs += [(kept + copy, kept) for copy in range(1, size)]
        kept += size
    assert find_clusters(links(pairs)).sizes_by_power() == {2: 3, 4: 2, 8: 1}
    assert find_clusters(links([])).sizes_by_power() == {}


def test_matches_of_all_slots_are_read_under_one_numbering(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    tables = {
        1: pa.table([[0, 3], pa.array([0, 1], pa.int32()), [4, 2]], schema=MATCHES),
        2: pa.table(
            [[1, 2], pa.array([0, 2], pa.int32()), [0, 0], pa.array([None, 0.875], pa.float32())],
            schema=NEAR_MATCHES,
        ),
    }
    for slot, folder in enumerate(folders):
        folder.mkdir()
        if slot in tables:
            with ShardWriter(folder / MATCHES_FILE, tables[slot].schema) as writer:
                writer.write(tables[slot])
    found = read_links(folders, [5, 4, 3])
    assert found.dropped.tolist() == [5, 8, 10, 11] and found.earlier.tolist() == [4, 7, 0, 9]
    assert np.isnan(found.similarity).tolist() == [True, True, True, False] and found.similarity[3] == 0.875
    assert [found.place(number) for number in (0, 4, 5, 8, 9, 11)] == [(0, 0), (0, 4), (1, 0), (1, 3), (2, 0), (2, 2)]
    assert found.among([1]).tolist() == [True, True, False, False]
    with pytest.raises(ForeignMatchesError, match="rebuilt"):
        read_links(folders[1:], [4, 3])
    with pytest.raises(ForeignMatchesError, match="of 3 documents"):
        read_links(folders, [5, 3, 3])


def test_rows_are_picked_by_number_from_their_row_groups(tmp_path):
    path = tmp_path / "documents.parquet"
    columns = {name: ["x"] * 50 for name in ("source", "licence", "meta")} | {
        "url": [None] * 50,
        "created": [None] * 50,
    }
    columns |= {"native_id": [f"d{n}" for n in range(50)], "text": ["t" * 10] * 50, "authors": [[]] * 50}
    with ShardWriter(path, DOCUMENTS_SCHEMA, row_group_bytes=70) as writer:
        writer.write(table_of(DOCUMENTS_SCHEMA, columns))
    found = pick_rows(path, [49, 0, 7, 6, 7], ["native_id"])
    assert found == {row: {"native_id": f"d{row}"} for row in (0, 6, 7, 49)}
    assert pick_rows(path, [], ["native_id"]) == {}
    with pytest.raises(DamagedShardError, match="has 50 rows, but row 50"):
        pick_rows(path, [3, 50], ["native_id"])
