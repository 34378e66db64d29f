"""Which held-out passages two corpora share, on shards written by hand."""

import numpy as np
import pyarrow as pa

from data.heldout import KINDS, kinds_of, read_held_out
from data.shards import CORPUS, ShardWriter


def shards(folder, train=(), validation=()):
    """Shards of rows (source, native id, first passage, passages, text)."""
    folder.mkdir(parents=True)
    for side, rows in (("train", train), ("validation", validation)):
        records = [
            {"source": source, "native_id": name, "passage": first, "passages": count, "text": text}
            | {"authors": [], "url": None, "created": None, "licence": "CC0-1.0", "meta": '{"look": 1}'}
            for source, name, first, count, text in rows
        ]
        with ShardWriter(folder / f"{side}.parquet", CORPUS) as writer:
            if records:
                writer.write(pa.Table.from_pylist(records, CORPUS))
    return folder


def test_a_passage_is_frozen_new_or_was_trained_on(tmp_path):
    older = [
        shards(
            tmp_path / "old-0",
            train=[("books", "a", 0, 3, "zero one two"), ("books", "c", 0, 1, "see")],
            validation=[("books", "a", 3, 1, "three"), ("books", "b", 0, 1, "bee")],
        ),
        shards(tmp_path / "old-1", train=[("notes", "a", 4, 2, "four five")]),
    ]
    newer = shards(
        tmp_path / "new",
        validation=[
            ("books", "a", 3, 1, "three"),
            ("books", "b", 0, 1, "bee, edited"),  # held out then as well, but another text
            ("books", "a", 2, 1, "two"),  # in the middle of a row of three passages
            ("books", "a", 4, 1, "four"),  # of the same id, but of another source, is what was trained on
            ("notes", "a", 4, 1, "four"),
            ("books", "d", 0, 1, "déjà"),
        ],
    )
    held = read_held_out(newer)
    assert held.places[2] == ("books", "a", 2) and held.sizes == [5, 11, 3, 4, 4, 6]
    found = [KINDS[kind] for kind in kinds_of(held, older)]
    assert found == ["frozen", "new", "trained on", "new", "trained on", "new"]
    assert set(kinds_of(held, [])) == {KINDS.index("new")}, "of a corpus that is gone nothing is known"


def test_a_slot_without_validation_text_holds_out_nothing(tmp_path):
    held = read_held_out(shards(tmp_path / "bare", train=[("books", "a", 0, 1, "text")]))
    assert len(held) == 0 and kinds_of(held, [tmp_path / "bare"]).dtype == np.int8
