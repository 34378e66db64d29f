"""The folder source with files of every format: what is fetched again and read anew when files grow, change and go."""

import csv
import gzip
import io
import json
import os
import tarfile
import zipfile
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.ledger import assign
from data.sources import ranges
from data.sources.base import Problem
from data.sources.folder import FolderConfig
from data.sources.ranges import cut_file
from tests.source_runs import SourceRuns, texts

LINES = "".join(json.dumps({"text": f"line {n} — über", "id": f"k{n}"}) + "\n" for n in range(40))


@pytest.fixture
def books(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    return folder


class Runs(SourceRuns):
    """Runs of a source in which nothing may be wrong; they return the texts."""

    def run(self):
        found = super().run()
        assert {one.what for one in self.problems} <= {"ignored"}
        assert all(one.meta["look"] >= 1 for one in found.values())
        return texts(found)


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def fill(books):
    (books / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (books / "b.csv").write_text("id,text\n1,three\n2,four\n")
    pq.write_table(pa.table({"text": ["five"]}), books / "c.parquet")
    (books / "d.zip").write_bytes(zipped({"x.txt": b"six", "y.json": b'["seven"]'}))
    (books / "e.tar.gz").write_bytes(tarred({"x/z.txt": b"eight"}))
    (books / "f.html.gz").write_bytes(gzip.compress(b"<html><body><p>nine and some more words here</p></body></html>"))
    (books / "g.txt").write_text("ten")


BEFORE = {
    "a.jsonl#1": "one",
    "a.jsonl#2": "two",
    "b.csv#1": "three",
    "b.csv#2": "four",
    "c.parquet#1": "five",
    "d.zip/x.txt": "six",
    "d.zip/y.json#1": "seven",
    "e.tar.gz/x/z.txt": "eight",
    "f.html.gz": "nine and some more words here",
    "g.txt": "ten",
}


def test_runs_one_after_the_other(books, tmp_path):
    fill(books)
    runs = Runs(tmp_path, FolderConfig(path="books", slot_bytes=1))  # every file in a slot of its own
    assert runs.run() == BEFORE
    assert runs.run() == BEFORE
    assert runs.fetched == []

    (books / "d.zip").write_bytes(zipped({"x.txt": b"six", "y.json": b'["seven"]', "z.txt": b"new"}))
    (books / "h.json").write_text('{"text": "another file"}')
    after = {**BEFORE, "d.zip/z.txt": "new", "h.json#1": "another file"}
    assert runs.run() == after
    assert runs.fetched == ["d.zip", "h.json"]
    assert (runs.changes.new, runs.changes.changed) == (("h.json",), ("d.zip",))

    (books / "a.jsonl").write_text('{"text": "one"}\n{"text": "changed"}\n')
    (books / "e.tar.gz").unlink()
    after["a.jsonl#2"] = "changed"
    del after["e.tar.gz/x/z.txt"]
    assert runs.run() == after
    assert runs.fetched == ["a.jsonl"]

    runs.ledger = runs.memo = None  # lost: the same documents, whatever slots they come to lie in
    assert runs.run() == after


def test_another_order_of_listing_changes_nothing(books, tmp_path, monkeypatch):
    fill(books)
    runs = Runs(tmp_path, FolderConfig(path="books", slot_bytes=1))
    assert runs.run() == BEFORE
    list_folder = os.scandir
    orders = []

    @contextmanager
    def scandir(path):
        with list_folder(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name, reverse=len(orders) % 2 == 0)
            orders.append(found)
            yield found

    monkeypatch.setattr(os, "scandir", scandir)
    for _ in range(2):
        assert runs.run() == BEFORE
        assert runs.fetched == []
    assert [one.name for one in orders[0]] == [one.name for one in orders[1]][::-1]


def test_large_json_lines_are_cut_and_their_ids_stay_when_they_grow(books, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "RANGE_BYTES", 200)
    (books / "a.jsonl").write_text(LINES)
    runs = Runs(tmp_path, FolderConfig(path="books", slot_bytes=1))
    before = runs.run()
    assert list(before.values()) == [json.loads(line)["text"] for line in LINES.splitlines()]
    assert {name.partition("#")[0] for name in before} >= {"a.jsonl", "a.jsonl@0002"}
    last = runs.fetched[-1]
    with (books / "a.jsonl").open("a") as file:
        file.write('{"text": "appended"}\n' * 20)
    after = runs.run()
    assert min(runs.fetched) >= last
    assert {name: after[name] for name in before} == before
    assert list(after.values())[-20:] == ["appended"] * 20


ROWS = [(str(n), f'row {n}, "quoted"\nand {n * n}\n\non; several — lines' + "x" * (n % 7)) for n in range(60)]


def table(rows, delimiter=","):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([("id", "text"), *rows])
    return file.getvalue()


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t")])
def test_large_tables_are_cut_between_rows(books, tmp_path, monkeypatch, name, delimiter):
    monkeypatch.setattr(ranges, "RANGE_BYTES", 400)
    (books / name).write_text(table(ROWS[:50], delimiter))
    runs = Runs(tmp_path, FolderConfig(path="books", slot_bytes=1))
    before = runs.run()
    assert list(before.values()) == [text for _, text in ROWS[:50]]
    items = FolderConfig(path="books").look(tmp_path).items
    assert len(items) > 5
    assert all(item.size <= 400 for item in items)
    first = runs.fetched[-1]
    (books / name).write_text(table(ROWS, delimiter))
    after = runs.run()
    assert min(runs.fetched) >= first
    assert list(after.values()) == [text for _, text in ROWS]
    assert {id: after[id] for id in before} == before


def test_what_cannot_be_cut_stays_whole(books, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "RANGE_BYTES", 100)
    (books / "one-row.csv").write_text('id,text\n1,"' + "never ends\n" * 100)
    (books / "a.json").write_text(json.dumps([{"text": "x" * 50}] * 10))
    (books / "mac.csv").write_bytes(b"id,text\r" + b"1,text\r" * 100)
    (books / "long-header.csv").write_text(",".join(f"column{n}" for n in range(50)) + ",text\n" + "," * 50 + "x\n")
    look = FolderConfig(path="books").look(tmp_path)
    names = [item.native_id for item in look.items]
    assert [name for name in names if not name.startswith("long")] == ["a.json", "mac.csv", "one-row.csv"]


@given(st.lists(st.tuples(st.text('ab,"\n\r;é', max_size=9)), max_size=30), st.integers(1, 60), st.binary(max_size=20))
@settings(deadline=None)
def test_ranges_of_a_table_are_all_of_it(tmp_path_factory, rows, size, tail):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(table(rows).encode() + tail)
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(ranges, "RANGE_BYTES", size)
        parts = cut_file(file, "csv")
    assert [part.start for part in parts] == [0, *(part.start + part.size for part in parts)][:-1]
    assert parts[-1].start + parts[-1].size == path.stat().st_size


def test_settings_reach_the_readers(books, tmp_path):
    (books / "a.jsonl").write_text('{"story": "s1", "key": "k"}\n')
    (books / "b.zip").write_bytes(zipped({"c.csv": b"key,story\nx,s2\n"}))
    config = FolderConfig(path="books", text_field="story", id_field="key")
    assert Runs(tmp_path, config).run() == {"a.jsonl#k": "s1", "b.zip/c.csv#x": "s2"}
    other = FolderConfig(path="books", repair_mojibake=False)
    identities = [json.dumps(one.reading_identity()) for one in (config, other, FolderConfig(path="books"))]
    assert len(set(identities)) == 3
    assert "trafilatura" in identities[0]


def test_bytes_that_are_no_text_are_not_guessed_to_be(books, tmp_path):
    (books / "a.txt").write_bytes(bytes(range(1, 256)) * 9)
    (books / "b.txt").write_bytes(b"caf\xe9\x08\n" * 2)
    config = FolderConfig(path="books")
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    problem, document = config.read(tmp_path)
    assert (problem.what, problem.where) == ("binary", "a.txt")
    assert document.text == "café\x08\n" * 2


def test_problems_inside_of_files_are_named_with_their_files(books, tmp_path):
    (books / "a.zip").write_bytes(b"no zip")
    (books / "b.jsonl").write_text("{broken}\n")
    (books / "c.txt").write_text("fine")
    config = FolderConfig(path="books")
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    found = list(config.read(tmp_path))
    assert [(one.what, one.where) for one in found if isinstance(one, Problem)] == [
        ("damaged", "a.zip"),
        ("broken", "b.jsonl#1"),
    ]
