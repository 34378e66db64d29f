"""What all sources share: the slot on disk, what identifies it, and the kinds that a recipe may name."""

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from data.formats import decoding
from data.ledger import assign
from data.sources.base import Item, Look, SlotItem
from data.sources.folder import FolderConfig
from data.sources.identity import content_fingerprint, slot_identity
from data.sources.pack import DamagedPackError, EarlierPacks, PackReader, PackWriter, read_items
from data.sources.python_docs import PythonDocsConfig
from data.sources.registry import AnySource
from data.sources.settings import ServerAddress, UserAgent

KINDS = TypeAdapter(AnySource)


def write(folder, contents):
    """A slot of {native id: bytes}."""
    folder.mkdir(exist_ok=True)
    with PackWriter(folder) as pack:
        for name, data in contents.items():
            pack.add(SlotItem(name, content_fingerprint([data]), len(data), look=1), [data])
    return folder


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), st.binary(max_size=50), max_size=6))
def test_a_slot_gives_back_what_went_in(tmp_path, contents):
    folder = write(tmp_path / "slot", contents)
    with PackReader(folder) as reader:
        assert {item.native_id: b"".join(reader.chunks(item)) for item in read_items(folder)} == contents
    assert (folder / "content.bin").read_bytes() == b"".join(contents.values())
    assert [json.loads(line)["native_id"] for line in (folder / "items.jsonl").open()] == list(contents)


def test_provenance_lies_beside_the_bytes(tmp_path):
    item = SlotItem("a", content_fingerprint([b"x"]), 1, "http://a/", "2020-01-01", {"python_version": "3.11"}, look=4)
    with PackWriter(tmp_path) as pack:
        pack.add(item, [b"x"])
    assert json.loads((tmp_path / "items.jsonl").read_text()) == {
        "native_id": "a",
        "fingerprint": item.fingerprint,
        "bytes": 1,
        "offset": 0,
        "look": 4,
        "url": "http://a/",
        "created": "2020-01-01",
        "meta": {"python_version": "3.11"},
    }
    [read] = read_items(tmp_path)
    assert (read.url, read.created, read.meta, read.look) == (item.url, item.created, item.meta, 4)


def test_an_upstream_mark_is_no_digest_of_content(tmp_path):
    with PackWriter(tmp_path) as pack:
        pack.add(SlotItem("page", 'W/"etag"', 999, look=1), [b"content"], check=False)
    assert [item.size for item in read_items(tmp_path)] == [7]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "items.jsonl").unlink(), "items.jsonl cannot be opened"),
        (lambda folder: (folder / "content.bin").unlink(), "content.bin cannot be opened"),
        (lambda folder: (folder / "items.jsonl").open("a").write("{"), "items.jsonl, line 2"),
        (lambda folder: (folder / "items.jsonl").write_bytes(b"\xff\n"), "items.jsonl, line 1"),
        (lambda folder: (folder / "items.jsonl").write_text("[]\n"), "items.jsonl, line 1"),
        (lambda folder: (folder / "content.bin").write_bytes(b"te"), "has 2 bytes, but a should lie at bytes 0 to 4"),
    ],
)
def test_a_damaged_slot_is_noticed(tmp_path, damage, said):
    folder = write(tmp_path / "slot", {"a": b"text"})
    damage(folder)
    with pytest.raises(DamagedPackError, match=said), PackReader(folder) as reader:
        for item in read_items(folder):
            list(reader.chunks(item))


def test_earlier_slots_give_only_what_is_the_same(tmp_path):
    kept = EarlierPacks([write(tmp_path / "1", {"a": b"old", "b": b"b"}), write(tmp_path / "2", {"a": b"new"})])
    for data in (b"old", b"new"):
        assert b"".join(kept.chunks(SlotItem("a", content_fingerprint([data]), 3))) == data
    assert kept.chunks(SlotItem("a", content_fingerprint([b"else"]), 4)) is None
    assert kept.chunks(SlotItem("c", content_fingerprint([b"b"]), 1)) is None


def test_a_slots_identity_changes_with_everything_that_lies_in_it_and_with_nothing_else():
    source = FolderConfig(path="a")
    first = SlotItem("a", "x", 1, look=1)
    same = FolderConfig(path="elsewhere", name="other", weight=3.0, licence="MIT", delimiter="--", slot_bytes=5)
    assert slot_identity(source, [first]) == slot_identity(same, [first])
    others = [
        [],
        [first, first],
        [SlotItem("b", "x", 1, look=1)],
        [SlotItem("a", "y", 1, look=1)],
        [SlotItem("a", "x", 1, look=2)],
        [SlotItem("a", "x", 1, "http://a/", look=1)],
        [SlotItem("a", "x", 1, meta={"python_version": "3.11"}, look=1)],
    ]
    identities = [json.dumps(slot_identity(source, items)) for items in ([first], *others)]
    identities.append(json.dumps(slot_identity(PythonDocsConfig(), [first])))
    assert len(set(identities)) == len(identities)


def test_a_kind_is_chosen_by_its_name_and_an_unknown_one_lists_the_valid():
    assert KINDS.validate_python({"kind": "python-docs"}) == PythonDocsConfig()
    assert KINDS.validate_python({"kind": "folder", "path": "books"}) == FolderConfig(path="books")
    with pytest.raises(ValidationError, match="'python-docs', 'folder'"):
        KINDS.validate_python({"kind": "floder", "path": "books"})
    with pytest.raises(ValidationError, match="pth"):
        KINDS.validate_python({"kind": "folder", "path": "books", "pth": "x"})


def test_configs_go_through_json_and_cannot_be_altered():
    for config in (PythonDocsConfig(name="docs", weight=2.0), FolderConfig(path="books", delimiter="--")):
        assert KINDS.validate_json(config.model_dump_json()) == config
        with pytest.raises(ValidationError):
            config.weight = 3.0


def test_reading_holds_one_document_and_not_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "WHOLE_BYTES", 1_000_000)
    monkeypatch.setattr(decoding, "DOCUMENT_CHARACTERS", 500_000)
    (tmp_path / "big.txt").write_bytes(b"a line of some words\n" * 1_000_000)
    config = FolderConfig(path=".")
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    tracemalloc.start()
    size = sum(len(document.text) for document in config.read(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 21_000_000
    assert peak < 10_000_000


def test_looks_are_the_same_in_any_listing_order():
    items = (Item("b", "x", 1), Item("a", "x", 1))
    assert assign(None, Look(items), 9, "2024") == assign(None, Look(items[::-1]), 9, "2024")


@pytest.mark.parametrize(
    "address", ["http://h", "https://h.example:8080/a/b.php", "HTTP://[::1]:80/", "http://1.2.3.4/"]
)
def test_addresses_of_servers_are_taken_as_they_are(address):
    assert TypeAdapter(ServerAddress).validate_python(address) == address


@pytest.mark.parametrize(
    "address",
    [
        *("", "h", "//h", "ftp://h", "http://", "http:///x", "http://:80", "http://[", "http://h:x", "http://h:99999"),
        *("http://h?a=b", "http://h/#a", "http://a b", "http://h\n", "http://h/\x7f", "http://u@h", "http://:p@h/"),
    ],
)
def test_what_is_no_address_of_a_server_is_refused(address):
    with pytest.raises(ValidationError, match="no address"):
        TypeAdapter(ServerAddress).validate_python(address)


def test_a_user_agent_fits_into_a_header():
    assert TypeAdapter(UserAgent).validate_python(" Name/1.0 (me@example.org)") == "Name/1.0 (me@example.org)"
    for wrong in ("Name/1.0\r\nX: y", "Näme/1.0"):
        with pytest.raises(ValidationError, match="one line of ASCII"):
            TypeAdapter(UserAgent).validate_python(wrong)
