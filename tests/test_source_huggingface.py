"""The hub source against a stand-in hub: what a first and a second run ask for, fetch, and read."""

import gzip
import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data.ledger import assign
from data.sources.base import RawDocument, SourceError
from data.sources.huggingface import HuggingFaceConfig
from tests.hub_toys import ID, SHARED, Runs, parquet, quick_waits, text, texts
from tests.source_runs import problems
from tests.source_runs import texts as by_id
from tests.stand_in_hub import stand_in_hub


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    return quick_waits(monkeypatch)


@pytest.fixture
def hub():
    with stand_in_hub(redirects=True) as server:
        yield server


@pytest.fixture
def dataset(hub):
    return hub.dataset(ID)


def expected(path, start, end):
    return {f"{path}#{number - start}": text(number) for number in range(start, end)}


def test_whole_files_and_parts_give_the_same_documents(hub, dataset, tmp_path):
    files = {f"data/train-0000{n}-of-00003.parquet": texts(100 * n, 100 * n + 100) for n in range(3)}
    sha = dataset.push(files)
    found = []
    for number, (route, slot_bytes) in enumerate((("file", 10**6), ("ranges", 10**6), ("auto", 1_500), ("file", 1))):
        (tmp_path / str(number)).mkdir()
        runs = Runs(hub, tmp_path / str(number), route=route, slot_bytes=slot_bytes)
        found.append(by_id(runs.run()))
        assert {item.meta["commit"] for item in runs.look.items} == {sha} == set(runs.facts[-1].details["commits"])
        if slot_bytes == 1_500:
            assert len(runs.slots) > 6, "large files are cut"
    whole = {name: one for n, path in enumerate(files) for name, one in expected(path, 100 * n, 100 * n + 100).items()}
    assert found == [whole] * 4


def test_what_is_fetched_lies_in_the_slot_as_it_came(hub, dataset, tmp_path):
    table = texts(0, 50)
    dataset.push({"train.parquet": table})
    runs = Runs(hub, tmp_path, route="file")
    runs.run()
    ((_, folder),) = runs.slots.values()
    assert (folder / "content.bin").read_bytes() == table
    assert runs.facts[-1].counts == {"items": 1, "bytes": len(table), "items_fetched": 1}


def test_only_the_columns_that_are_read_come(hub, dataset, tmp_path):
    rng = random.Random(0)
    noise = [rng.randbytes(5_000) for _ in range(100)]
    dataset.push({"train.parquet": parquet({"noise": noise, "text": [text(n) for n in range(100)]}, group=100)})
    runs = Runs(hub, tmp_path, route="ranges")
    assert by_id(runs.run()) == expected("train.parquet", 0, 100)
    assert hub.sent("storage") < 100_000, "66 kB of footer and what lies near it, and the text"


def test_ids_addresses_and_dates_come_from_columns(hub, dataset, tmp_path):
    day = pa.array([1_700_000_000_000_000_123, None], pa.timestamp("ns", "UTC"))
    columns = {
        "body": pa.array(["one", "two"]),
        "number": pa.array([7, None]),
        "link": ["http://a.example/", ""],
        "day": day,
    }
    sha = dataset.push({"data.parquet": parquet(columns)})
    runs = Runs(hub, tmp_path, text_field="body", id_field="number", url_field="link", date_field="day")
    one, two = runs.run()
    assert (one.native_id, one.text, one.url) == ("7", "one", "http://a.example/")
    assert one.created == "2023-11-14T22:13:20+00:00"
    assert one.meta == {"commit": sha, "look": 1}
    assert (two.native_id, two.url, two.created) == ("data.parquet#1", f"hf://datasets/{ID}@{sha}/data.parquet", None)


def test_rows_that_repeat_an_id_are_told_apart_and_stay_so(hub, dataset, tmp_path):
    files = {"a-train.parquet": parquet({"text": ["one", "two", "three"], "id": ["x", "x", None]})}
    files["b-train.parquet"] = parquet({"text": ["four", "five"], "id": ["x", "a-train.parquet#2"]})
    dataset.push(files)
    runs = Runs(hub, tmp_path, id_field="id")
    first = {
        "x": "one",
        "x;a-train.parquet#1": "two",
        "a-train.parquet#2": "three",
        "x;b-train.parquet#0": "four",
        "a-train.parquet#2;b-train.parquet#1": "five",
    }
    assert by_id(runs.run()) == first
    (note,) = runs.notes
    assert note.startswith(
        "3 rows with the id of an earlier row, told apart by the row number after it: x;a-train.parquet#1,"
    )
    dataset.push({"c-train.parquet": parquet({"text": ["six"], "id": ["x"]})})
    assert by_id(runs.run()) == first | {"x;c-train.parquet#0": "six"}


def test_nothing_new_asks_for_the_commit_only(hub, dataset, tmp_path):
    dataset.push({f"data/train-{n:05d}-of-00025.parquet": texts(20 * n, 20 * n + 20) for n in range(25)})
    runs = Runs(hub, tmp_path, slot_bytes=1_000)
    first = runs.run()
    assert len(first) == 500
    requests = hub.count()
    assert requests > 25
    assert runs.run() == first
    assert (hub.count(), hub.count("/revision/"), runs.fetched) == (1, 1, [])
    assert str(runs.changes) == f"nothing new, {len(runs.look.items)} unchanged"


def test_a_commit_that_moves_without_new_content_fetches_nothing(hub, dataset, tmp_path):
    dataset.push({f"data/train-{n}.parquet": texts(20 * n, 20 * n + 20) for n in range(9)})
    runs = Runs(hub, tmp_path, slot_bytes=1_000)
    first, before = runs.run(), runs.look
    dataset.push({"notes.txt": b"unrelated"})
    assert runs.run() == first
    assert runs.look.items == before.items
    assert (runs.fetched, hub.count("resolve/.*parquet"), hub.count("storage")) == ([], 0, 0)
    assert hub.count() <= 5
    runs.memo = None
    assert runs.run() == first
    assert (runs.look.items, runs.fetched) == (before.items, []), "the memo saves requests and changes nothing"


def test_one_file_added_changed_removed(hub, dataset, tmp_path):
    files = {f"data/train-{n}.parquet": texts(50 * n, 50 * n + 50) for n in range(4)}
    old = dataset.push(files)
    runs = Runs(hub, tmp_path, slot_bytes=2_000)
    runs.run()
    folders = {number: folder for number, (_, folder) in runs.slots.items()}

    new = dataset.push({"data/train-4.parquet": texts(200, 250)})
    found = by_id(runs.run())
    assert found == {
        k: v for n in range(5) for k, v in expected(f"data/train-{n}.parquet", 50 * n, 50 * n + 50).items()
    }
    assert {number: runs.slots[number][1] for number in folders} == folders, "what was there is not touched"
    assert not hub.count(f"resolve/{old}/data")
    assert hub.count(f"resolve/{new}/data/train-4") == len(runs.fetched) + 1

    dataset.push({"data/train-1.parquet": texts(900, 950)})
    found = by_id(runs.run())
    assert [found[f"data/train-1.parquet#{n}"] for n in range(50)] == [text(n) for n in range(900, 950)]
    assert set(runs.changes.changed) == {i.native_id for i in runs.look.items if i.native_id.startswith("data/train-1")}
    assert hub.count("resolve/.*parquet") == hub.count("resolve/.*train-1.parquet")

    dataset.push({}, removed=["data/train-0.parquet"])
    found = by_id(runs.run())
    assert not any(name.startswith("data/train-0") for name in found)
    assert len(found) == 200
    assert (hub.count("resolve/.*parquet"), len(runs.changes.deleted) > 0) == (0, True)

    runs.settings["mirror"] = False
    dataset.push({}, removed=["data/train-2.parquet"])
    assert len(by_id(runs.run())) == 200
    assert {name.partition("@")[0] for name in runs.changes.absent} == {"data/train-2.parquet"}


def test_a_change_in_a_slot_of_many_files_fetches_that_file_only(hub, dataset, tmp_path):
    dataset.push({f"data/train-{n}.parquet": texts(50 * n, 50 * n + 50) for n in range(4)})
    runs = Runs(hub, tmp_path)
    runs.run()
    assert len(runs.slots) == 1
    dataset.push({"data/train-2.parquet": texts(900, 950)})
    found = by_id(runs.run())
    assert [found[f"data/train-2.parquet#{n}"] for n in range(50)] == [text(n) for n in range(900, 950)]
    assert len(found) == 200
    assert hub.count("resolve/.*parquet") == 1
    assert runs.facts[-1].counts["items_fetched"] == 1


def test_another_order_of_listing_and_a_lost_ledger_change_nothing(hub, dataset, tmp_path):
    dataset.push({f"data/train-{n}.parquet": texts(50 * n, 50 * n + 50) for n in range(4)})
    hub.page = 3
    runs = Runs(hub, tmp_path, slot_bytes=2_000)
    first, ledger = runs.run(), runs.ledger
    assert hub.count("/tree/") > 1, "listings come in pages"
    hub.reversed = True
    runs.memo = runs.ledger = None
    assert runs.run() == first
    assert (runs.ledger, runs.fetched) == (ledger, [])


@pytest.mark.parametrize("memo", [1, [], {"asked": 3}, "commits", {}])
def test_a_foreign_memo_is_not_trusted(hub, dataset, tmp_path, memo):
    dataset.push({"data.parquet": texts(0, 50)})
    source = Runs(hub, tmp_path, route="ranges").source
    good = source.look(tmp_path)
    assert source.look(tmp_path, memo).items == good.items
    for key in good.memo:
        broken = json.loads(json.dumps(good.memo)) | {key: memo}
        assert source.look(tmp_path, broken).items == good.items


def test_max_documents_takes_the_first_rows_and_fetches_no_more(hub, dataset, tmp_path):
    dataset.push({f"data/train-{n}.parquet": texts(100 * n, 100 * n + 100, compression="none") for n in range(30)})
    for limit, route in ((1, "ranges"), (95, "ranges"), (100, "file"), (115, "ranges"), (115, "file")):
        folder = tmp_path / f"{limit}-{route}"
        folder.mkdir()
        runs = Runs(hub, folder, max_documents=limit, route=route)
        found = runs.run()
        assert [one.text for one in found] == [text(n) for n in range(limit)]
        assert runs.look.complete
        assert [one.what for one in runs.look.problems] == ["left_out"]
        asked = {one.path for one in hub.requests if "resolve" in one.path and "parquet" in one.path}
        assert len(asked) <= 16, "footers are read as far as needed"
    assert by_id(runs.run()) == by_id(found)
    runs.settings["max_documents"] = 120
    assert len(runs.run()) == 120


def test_what_lies_far_beyond_max_bytes_is_not_looked_at(hub, dataset, tmp_path):
    dataset.push({f"data/train-{n:02d}.parquet": texts(100 * n, 100 * n + 100) for n in range(60)})
    runs = Runs(hub, tmp_path, max_bytes=10_000, route="ranges")
    look = runs.source.look(tmp_path)
    assert sum(item.size for item in look.items) >= 20_000
    assert hub.count("resolve/.*parquet") <= 16
    assert "files beyond max_bytes" in str(look.problems[0])


def test_sentences_are_joined_in_order(hub, dataset, tmp_path):
    rows = [f"sentence {n} ." for n in range(95)]
    rows[7], rows[8], rows[50] = None, "  ", ""
    dataset.push({"train.parquet": parquet(rows, group=30)})
    runs = Runs(hub, tmp_path, join_rows=20, row_separator=" ")
    found = runs.run()
    wanted = [[row for row in rows[at : at + 20] if row and row.strip()] for at in range(0, 95, 20)]
    assert list(by_id(found).items()) == [(f"train.parquet#{20 * n}", " ".join(run)) for n, run in enumerate(wanted)]
    assert problems(found) == {("null", "train.parquet#7")}
    runs = Runs(hub, tmp_path, join_rows=20, route="ranges", slot_bytes=100)  # each row group is an item
    assert [
        by_id([one])["train.parquet#20"].count("\n") for one in runs.run() if "#20" in getattr(one, "native_id", "")
    ] == [9]
    assert list(by_id(runs.run())) == [f"train.parquet#{n}" for n in (0, 20, 30, 50, 60, 80, 90)]


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
@pytest.mark.parametrize("name", ["bookcorpus", "fineweb", "openwebtext"])
@pytest.mark.parametrize("route", ["file", "ranges"])
def test_the_samples_are_read_as_an_independent_reader_reads_them(hub, dataset, tmp_path, name, route):
    path = SHARED / "hf_shapes" / f"{name}_like.parquet"
    dataset.push({"train.parquet": path.read_bytes()})
    table = pq.read_table(path)
    runs = Runs(hub, tmp_path, route=route, slot_bytes=100_000)
    found = runs.run()
    assert [one.text for one in found] == table["text"].to_pylist()
    assert len(found) == {"bookcorpus": 4000, "fineweb": 300, "openwebtext": 300}[name]
    if name == "fineweb":
        runs = Runs(hub, tmp_path, id_field="id", url_field="url", date_field="date", route=route)
        rows = [(one.native_id, one.url, one.created) for one in runs.run()]
        assert rows == list(zip(*(table[column].to_pylist() for column in ("id", "url", "date")), strict=True))
    if name == "bookcorpus":
        runs = Runs(hub, tmp_path, join_rows=300, row_separator=" ", route=route)
        joined = " ".join(one.text for one in runs.run())
        assert joined == " ".join(table["text"].to_pylist())


def jsonl(start, end):
    return "".join(
        json.dumps({"text": text(n), "id": n}, ensure_ascii=False) + "\n" for n in range(start, end)
    ).encode()


def test_json_lines_whole_compressed_and_cut(hub, dataset, tmp_path):
    dataset.push({"a-train.jsonl": jsonl(0, 200), "b-train.jsonl.gz": gzip.compress(jsonl(200, 300), mtime=0)})
    runs = Runs(hub, tmp_path, id_field="id")
    assert by_id(runs.run()) == {str(n): text(n) for n in range(300)}
    runs = Runs(hub, tmp_path, id_field="id", slot_bytes=4_000)
    found = runs.run()
    assert [one.text for one in found] == [text(int(one.native_id)) for one in found]
    assert sorted(int(one.native_id) for one in found) == [*range(300)]
    assert len(runs.slots) == 5


@pytest.mark.parametrize("slot_bytes", [1, 6, 14, 15, 1000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_json_lines_cut_anywhere_lose_nothing_and_repeat_nothing(hub, dataset, tmp_path, slot_bytes, end):
    lines = [b'{"text":"1"}', b"", b'{"text":"2 3"}', b'{"text":""}']
    dataset.push({"train.jsonl": b"\n".join(lines) + end})
    source = Runs(hub, tmp_path, slot_bytes=slot_bytes, route="ranges").source
    _, (slot,), _ = assign(None, source.look(tmp_path), 10**9, "2024")  # all in one slot
    assert len(slot.items) == -(-len(b"\n".join(lines) + end) // slot_bytes)
    source.fetch(slot.items, tmp_path, tmp_path, tmp_path / "work")
    assert [one.text for one in source.read(tmp_path)] == ["1", "2 3", ""]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("train.jsonl", b'{"body": "a", "id": 1}\n', r"train\.jsonl has no column 'text'.*its columns are body, id"),
        (
            "train.csv.gz",
            gzip.compress(b"body,id\na,1\n", mtime=0),
            r"train\.csv\.gz has no column .*columns are body, id",
        ),
    ],
)
def test_a_wrong_column_is_found_before_anything_is_fetched(hub, dataset, tmp_path, name, data, said):
    dataset.push({name: data})
    with pytest.raises(SourceError, match=said):
        Runs(hub, tmp_path).run()
    runs = Runs(hub, tmp_path, text_field="body")
    assert [one.text for one in runs.run()] == ["a"]
    runs.run()
    assert hub.count() == 1


def test_rows_of_json_lines_cannot_be_counted_beforehand(hub, dataset, tmp_path):
    dataset.push({"train.jsonl": jsonl(0, 5)})
    with pytest.raises(SourceError, match=r"max_documents .* train\.jsonl is none\. Set max_bytes"):
        Runs(hub, tmp_path, max_documents=3).run()


def test_damaged_empty_and_odd_files_are_named_and_the_rest_goes_on(hub, dataset, tmp_path):
    good = texts(0, 20)
    dataset.push(
        {
            "data/a-train.parquet": b"PAR1 this is none PAR1",
            "data/b-train.parquet": texts(0, 0),
            "data/c-train.parquet": parquet({"body": ["x"]}),
            "data/d-train.parquet": good,
            "data/e-train.parquet": b"",
        }
    )
    for route in ("ranges", "file"):
        runs = Runs(hub, tmp_path, route=route)
        assert by_id(runs.run()) == expected("data/d-train.parquet", 0, 20)
        said = {(one.what, one.where) for one in (*runs.look.problems,)}
        names = {"a": "damaged", "b": "empty", "c": "wrong_column", "e": "damaged"}
        assert said == {(what, f"data/{name}-train.parquet") for name, what in names.items()}
        problems_before = runs.look.problems
        runs.run()
        assert (hub.count(), runs.look.problems) == (1, problems_before), "what is damaged is not asked for again"
    dataset.push({}, removed=["data/d-train.parquet"])
    with pytest.raises(SourceError, match=r"nothing .*a-train\.parquet: damaged.*its columns are body"):
        Runs(hub, tmp_path).run()


def test_csv_with_line_ends_in_fields(hub, dataset, tmp_path):
    data = 'id,text\n1,"first\nline, and ""second"""\n2,plain\n\n3,too,many\n4,last'
    dataset.push({"train.csv": data.encode(), "test.csv": b"id,text\n9,other\n", "train2.tsv": b"text\tid\ntabs\t5\n"})
    runs = Runs(hub, tmp_path, id_field="id")
    found = runs.run()
    assert by_id(found) == {"1": 'first\nline, and "second"', "2": "plain", "4": "last", "5": "tabs"}
    assert problems(found) == {("broken", "train.csv#3")}


def test_settings_and_their_keys():
    source = HuggingFaceConfig(id="a/b", token="MY_TOKEN", endpoint="http://127.0.0.1:1")
    other = HuggingFaceConfig(id="a/b", max_documents=3)
    assert source.identity() == other.identity()
    assert (
        source.reading_identity()
        == other.reading_identity()
        != HuggingFaceConfig(id="a/b", join_rows=2).reading_identity()
    )
    assert source.location() == other.location() != HuggingFaceConfig(id="a/b", config="x").location()
    assert source.reaches_network()
    HuggingFaceConfig(**source.example)
    for wrong in (
        {"id": "a b"},
        {"id": ""},
        {"join_rows": 1},
        {"route": "fast"},
        {"endpoint": "ftp://x"},
        {"files": []},
    ):
        with pytest.raises(ValidationError):
            HuggingFaceConfig(**{"id": "a/b", **wrong})


def test_of_books_that_were_taken_the_user_is_warned(hub, tmp_path):
    hub.dataset("bookcorpus/bookcorpus").push(
        {"plain_text/train/0000.parquet": texts(0, 3)}, branch="refs/convert/parquet"
    )
    hub.dataset("bookcorpus/bookcorpus").push({"bookcorpus.py": b""})
    runs = Runs(hub, tmp_path, id="bookcorpus/bookcorpus", config="plain_text")
    assert len(runs.run()) == 3
    assert "copyright" in str(runs.look.problems[0])


def test_recipes_name_what_the_hub_has():
    from flows.recipes import load_recipe

    for name in ("bookcorpus", "openwebtext", "fineweb", "wikipedia-dump"):
        source = load_recipe(name).sources[name]
        assert source.kind == "huggingface"
        assert source.max_bytes == 100_000_000
    assert load_recipe("bookcorpus").sources["bookcorpus"].join_rows == 200


def test_a_document_that_is_too_long_comes_in_parts(hub, dataset, tmp_path):
    long = "".join(f"paragraph {n}\n\n" for n in range(700_000))
    dataset.push({"train.parquet": parquet([long, "short"])})
    for settings in ({}, {"join_rows": 2}):
        found = Runs(hub, tmp_path, **settings).run()
        assert re.sub(r"\nshort$", "", "".join(one.text for one in found if "#1" not in one.native_id)) == long
        assert [one.native_id for one in found][:2] == ["train.parquet#0", "train.parquet#0~2"]
        assert all(isinstance(one, RawDocument) for one in found)


def test_a_killed_fetch_goes_on_where_it_stopped(hub, dataset, tmp_path):
    dataset.push({f"data/train-{n}.parquet": texts(1000 * n, 1000 * n + 1000, compression="none") for n in range(3)})
    runs = Runs(hub, tmp_path)
    look = runs.source.look(tmp_path)
    _, (slot,), _ = assign(None, look, runs.source.slot_bytes, "2024")
    (tmp_path / "out").mkdir()
    hub.fail("train-1", status=404, times=1)
    with pytest.raises(SourceError, match=r"data/train-1\.parquet"):
        runs.source.fetch(slot.items, tmp_path, tmp_path / "out", tmp_path / "work")
    kept = sum(path.stat().st_size for path in (tmp_path / "work").iterdir())
    assert kept
    hub.forget()
    runs.source.fetch(slot.items, tmp_path, tmp_path / "out", tmp_path / "work")
    assert hub.sent("storage") == sum(item.size for item in slot.items) - kept
    assert len(list(runs.source.read(tmp_path / "out"))) == 3000
