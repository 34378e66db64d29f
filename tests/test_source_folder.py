"""The folder source on hand-made folders: every encoding, compression, problem and odd name."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.ledger import assign
from data.sources import ranges
from data.sources.base import RawDocument, SourceError
from data.sources.folder import FolderConfig
from data.sources.pack import ChangedSinceLookError
from tests.source_runs import problems, texts

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
EXAMPLE = "Größe und Mühle: 5 €"
as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture
def books(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    return folder


def items_of(config, root, ledger=None):
    ledger, slots, _ = assign(ledger, config.look(root), config.slot_bytes, "2024", config.mirror)
    return [item for slot in slots for item in slot.items]


def fetch_and_read(config, root, notes=None):
    """Everything that the source has, through a slot on disk."""
    out = root / "slot"
    out.mkdir(exist_ok=True)
    config.fetch(items_of(config, root), root, out, root)
    return list(config.read(out, (notes if notes is not None else []).append))


def test_every_kind_and_encoding_is_read(books, tmp_path):
    (books / "deep" / "er").mkdir(parents=True)
    files = {
        "a.txt": EXAMPLE.encode(),
        "b.MD": b"\xef\xbb\xbf" + EXAMPLE.encode(),
        "c.rst": EXAMPLE.encode("utf-16"),
        "d.text": EXAMPLE.encode("utf-16-be"),
        "deep/e.txt.gz": gzip.compress(EXAMPLE.encode()),
        "deep/f.md.bz2": bz2.compress(EXAMPLE.encode("utf-16")),
        "deep/er/g.rst.xz": lzma.compress(EXAMPLE.encode("cp1252")),
        "deep/er/h.TEXT.ZST": zstandard.compress(EXAMPLE.encode()),
        "i.txt": EXAMPLE.encode("cp1252"),
    }
    files["d.text"] = b"\xfe\xff" + files["d.text"]
    for name, data in files.items():
        (books / name).write_bytes(data)
    notes = []
    found = fetch_and_read(FolderConfig(path="books"), tmp_path, notes)
    assert texts(found) == dict.fromkeys(files, EXAMPLE)
    assert [document.native_id for document in found] == sorted(files)
    encodings = {document.native_id: document.meta.get("encoding") for document in found}
    assert encodings == {
        **dict.fromkeys(files),
        "c.rst": "utf-16-le",
        "d.text": "utf-16-be",
        "deep/f.md.bz2": "utf-16-le",
        "deep/er/g.rst.xz": "cp1252",
        "i.txt": "cp1252",
    }
    assert {document.meta["look"] for document in found} == {1}
    assert notes == ["2 files not in UTF-8, read as cp1252 (detected): deep/er/g.rst.xz, i.txt"]
    notes.clear()
    fetch_and_read(FolderConfig(path="books", fallback_encoding="Windows-1252"), tmp_path, notes)
    assert notes == ["2 files not in UTF-8, read as cp1252 (fallback_encoding): deep/er/g.rst.xz, i.txt"]


def test_fingerprints_are_those_of_the_files_and_bytes_are_kept(books, tmp_path):
    (books / "a.txt.gz").write_bytes(gzip.compress(b"text"))
    (books / "b.txt").write_bytes(b"more\r\n")
    config = FolderConfig(path=str(books), licence="CC0-1.0")
    look = config.look(tmp_path)
    for item in look.items:
        assert item.fingerprint == hashlib.sha256((books / item.native_id).read_bytes()).hexdigest()
    told = []
    facts = config.fetch(items_of(config, tmp_path), tmp_path, tmp_path, tmp_path, lambda *what: told.append(what))
    content = (tmp_path / "content.bin").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    for line, name in zip(lines, ("a.txt.gz", "b.txt"), strict=True):
        assert line["native_id"] == name
        assert content[line["offset"] :][: line["bytes"]] == (books / name).read_bytes()
    assert (facts.counts, facts.licences) == ({"items": 2, "bytes": len(content)}, ["CC0-1.0"])
    assert told[-1] == (len(content), len(content), "bytes")


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(books, tmp_path):
    (books / "binary.txt").write_bytes(b"MZ\0\1\2")
    (books / "cut.txt.gz").write_bytes(gzip.compress(b"text" * 100)[:-5])
    (books / "empty.txt").write_bytes(b"")
    (books / "empty.txt.xz").write_bytes(b"")
    (books / "fine.txt").write_text("fine")
    (books / "garbled.txt.zst").write_bytes(b"no zstandard")
    (books / "undecodable.txt").write_bytes(b"caf\xe9 \x81")
    (books / "bomb.txt.xz").write_bytes(lzma.compress(b"a" * 70_000_000, preset=0))
    found = fetch_and_read(FolderConfig(path="books", fallback_encoding="cp1252"), tmp_path)
    assert problems(found) == {
        ("binary", "binary.txt"),
        ("cut", "cut.txt.gz"),
        ("cut", "empty.txt.xz"),
        ("damaged", "garbled.txt.zst"),
        ("undecodable", "undecodable.txt"),
        ("decompression_bomb", "bomb.txt.xz"),
    }
    assert texts(found) == {"empty.txt": "", "fine.txt": "fine"}


def test_what_is_passed_over_is_counted(books, tmp_path):
    for name in ("a.txt", "b.png", "c.PNG", "d.odt", "e", ".hidden.txt", "f.css.gz", "txt"):
        (books / name).write_text("text")
    (books / ".git").mkdir()
    (books / ".git" / "x.txt").write_text("text")
    (books / "empty").mkdir()
    look = FolderConfig(path="books").look(tmp_path)
    assert [item.native_id for item in look.items] == ["a.txt"]
    assert {str(problem) for problem in look.problems} == {
        f"{books}: skipped: 2 hidden files and folders",
        f"{books}: ignored: files of kinds that are not read: 6, .png (2), no ending (2), .css.gz (1), .odt (1)",
    }
    assert look.complete


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder: folder.rmdir(), "{folder} (path: 'books') does not exist"),
        (lambda folder: (folder.rmdir(), folder.write_text("text")), "{folder} (path: 'books') is a file"),
        (lambda folder: None, "{folder} holds no file that can be read (it is empty)"),
        (lambda folder: (folder / "a.png").write_text("text"), "{folder} holds no file that can be read"),
        (lambda folder: (folder / "a.txt").symlink_to("nowhere"), "a.txt: unreadable: a link that leads nowhere"),
    ],
)
def test_nothing_to_read_is_an_error_with_the_path(books, tmp_path, prepare, said):
    prepare(books)
    with pytest.raises(SourceError) as caught:
        FolderConfig(path="books").look(tmp_path)
    assert said.format(folder=books) in str(caught.value)


def test_paths_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    for path in ("~nobody-of-this-name/x", "circle", "x" * 300):
        with pytest.raises(SourceError, match=r"nobody|circle|xxx"):
            FolderConfig(path=path).look(tmp_path)


@as_root
def test_unreadable_files_and_folders(books, tmp_path):
    (books / "a.txt").write_text("text")
    (books / "b.txt").write_text("text")
    (books / "sub").mkdir()
    (books / "b.txt").chmod(0)
    look = FolderConfig(path="books").look(tmp_path)
    assert ([item.native_id for item in look.items], look.complete) == (["a.txt"], True)
    assert problems(look.problems) == {("unreadable", "b.txt")}
    (books / "sub").chmod(0)
    look = FolderConfig(path="books").look(tmp_path)
    (books / "sub").chmod(0o700)
    assert problems(look.problems) == {("unreadable", "b.txt"), ("unreadable", "sub")}
    assert not look.complete, "what is in a folder that cannot be listed must not count as deleted"


def test_a_file_that_fails_is_named(books, tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (books / name).write_text("text")
    open_file = open

    def fail(path, *more):
        if os.fsencode(path).endswith(b"b.txt"):
            raise OSError(5, "Input/output error", path)
        return open_file(path, *more)

    monkeypatch.setattr("builtins.open", fail)
    look = FolderConfig(path="books").look(tmp_path)
    assert [item.native_id for item in look.items] == ["a.txt"]
    assert [str(problem) for problem in look.problems] == ["b.txt: unreadable: Input/output error"]


def test_a_folder_that_cannot_be_listed_makes_the_listing_incomplete(books, tmp_path, monkeypatch):
    (books / "a.txt").write_text("text")
    (books / "sub").mkdir()
    list_folder = os.scandir

    def scandir(path):
        if path.endswith(b"sub"):
            raise PermissionError(13, "Permission denied", path)
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", scandir)
    look = FolderConfig(path="books").look(tmp_path)
    assert (problems(look.problems), look.complete) == ({("unreadable", "sub")}, False)


def test_links_and_special_files(books, tmp_path):
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "b.txt").write_text("outside")
    (outside / "deep" / "back").symlink_to(outside)  # a circle
    (books / "a.txt").write_text("inside")
    (books / "again.txt").symlink_to("a.txt")
    (books / "self").symlink_to(".")
    (books / "up").symlink_to("..")
    (books / "out").symlink_to(outside)
    (books / "out-again").symlink_to(outside / "deep")
    (books / "single.txt").symlink_to(outside / "deep" / "b.txt")
    (books / "lost.txt").symlink_to("nowhere")
    os.mkfifo(books / "pipe.txt")
    config = FolderConfig(path="books")
    look = config.look(tmp_path)
    assert [item.native_id for item in look.items] == ["a.txt", "out/deep/b.txt", "single.txt"]
    assert {str(problem) for problem in look.problems} == {
        "lost.txt: unreadable: a link that leads nowhere",
        "pipe.txt: unreadable: neither a file nor a folder",
        "up: unreadable: a link to a folder that holds this one",
        f"{books}: skipped: 2 links to what is inside the folder anyway",
        f"{books}: skipped: 2 links to folders that are read already",
    }
    assert texts(fetch_and_read(config, tmp_path)) == {
        "a.txt": "inside",
        "out/deep/b.txt": "outside",
        "single.txt": "outside",
    }


ODD_NAMES = [
    b"line\nbreak.txt",
    b"back\\slash.txt",
    b"\\x0a.txt",
    b"not-utf8-\xff\xe9.txt",
    "Übung ✓.txt".encode(),
    b"#1~2@3.txt",
    b"-rf *.txt",
    b"tab\t\x7f.txt",
    " \u2028.txt".encode(),
]


def test_odd_names_survive_and_stay_apart(books, tmp_path):
    for number, name in enumerate(ODD_NAMES):
        Path(os.fsdecode(os.path.join(os.fsencode(books), name))).write_text(f"text {number}")
    found = texts(fetch_and_read(FolderConfig(path="books"), tmp_path))
    assert sorted(found.values()) == sorted(f"text {number}" for number in range(len(ODD_NAMES)))
    for name in found:
        assert name.encode().decode() == name
        assert name.isprintable(), repr(name)
    assert {"line\\x0abreak.txt", "back\\x5cslash.txt", "not-utf8-\\xff\\xe9.txt", "Übung ✓.txt"} <= found.keys()


def test_pieces_between_delimiter_lines(books, tmp_path):
    (books / "a.txt").write_text("one\n<|endoftext|>\ntwo\n")
    (books / "b.txt").write_text("three")
    config = FolderConfig(path="books", delimiter="<|endoftext|>")
    assert texts(fetch_and_read(config, tmp_path)) == {"a.txt#1": "one\n", "a.txt#2": "two\n\n", "b.txt#1": "three\n"}


def test_a_large_file_is_cut_at_lines_and_appending_touches_its_end_only(books, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "RANGE_BYTES", 100)
    text = "".join(f"line number {number} — über\n" for number in range(18))
    (books / "big.txt").write_text(text)
    (books / "utf16.txt").write_text(text, encoding="utf-16")
    (books / "big.txt.gz").write_bytes(gzip.compress(text.encode()))
    config = FolderConfig(path="books", slot_bytes=100)
    ledger, before, _ = assign(None, config.look(tmp_path), 100, "2024")
    assert len(before) > 5
    listed = [item.native_id for item in config.look(tmp_path).items]
    assert listed == sorted(listed)
    found = texts(fetch_and_read(config, tmp_path))
    big = [name for name in found if name.startswith("big") and not name.endswith("gz")]
    assert big == ["big.txt", *(f"big.txt@{n:04d}" for n in range(2, len(big) + 1))]
    assert "".join(found[name] for name in big) == text
    assert all(found[name].endswith("\n") and len(found[name].encode()) <= 100 for name in big)
    assert found["utf16.txt"] == found["big.txt.gz"] == text

    with (books / "big.txt").open("a") as file:
        file.write("appended\n" * 30)
    _, after, changes = assign(ledger, config.look(tmp_path), 100, "2025")
    assert changes.changed == (big[-1],)
    assert all(name.startswith("big.txt@") for name in changes.new)
    untouched = [slot for slot in before if big[-1] not in [item.native_id for item in slot.items]]
    assert [slot for slot in after if slot in untouched] == untouched
    assert "".join(texts(fetch_and_read(config, tmp_path))[name] for name in (*big, *changes.new)).endswith(
        text[-20:] + "appended\n" * 30
    )


def test_a_line_longer_than_a_range_is_cut_between_characters(books, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "RANGE_BYTES", 10)
    (books / "a.txt").write_text("磨坊🌾" * 20)
    found = texts(fetch_and_read(FolderConfig(path="books"), tmp_path))
    assert (
        "".join(found[name] for name in ["a.txt", *(f"a.txt@{n:04d}" for n in range(2, len(found) + 1))])
        == "磨坊🌾" * 20
    )


def test_a_memo_saves_reading_and_changes_nothing(books, tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (books / name).write_text("text")
    config = FolderConfig(path="books")
    monkeypatch.setattr(ranges, "_SETTLED_NS", -(10**12))
    first = config.look(tmp_path)
    memo = json.loads(json.dumps(first.memo))
    assert memo.keys() == {"a.txt", "b.txt"}
    (books / "b.txt").write_text("TEXT")  # as long as before
    (books / "c.txt").write_text("more")
    opened = []
    open_file = open
    monkeypatch.setattr(
        "builtins.open", lambda path, *more, **named: (opened.append(path), open_file(path, *more, **named))[1]
    )
    second = config.look(tmp_path, memo)
    assert [Path(os.fsdecode(path)).name for path in opened] == ["b.txt", "c.txt"]
    assert second == config.look(tmp_path)


def test_a_memo_does_not_hold_what_was_just_written(books, tmp_path):
    (books / "a.txt").write_text("text")
    assert FolderConfig(path="books").look(tmp_path).memo == {}


@given(
    st.none()
    | st.integers()
    | st.lists(st.integers())
    | st.dictionaries(st.just("a.txt"), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=6))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_foreign_memo_is_not_trusted(tmp_path, memo):
    (tmp_path / "a.txt").write_text("text")
    config = FolderConfig(path=".")
    assert config.look(tmp_path, memo).items == config.look(tmp_path).items


def test_a_file_that_changes_while_it_is_fetched_is_named(books, tmp_path):
    (books / "a.txt").write_text("text")
    config = FolderConfig(path="books")
    items = items_of(config, tmp_path)
    (books / "a.txt").write_text("text and more")
    config.fetch(items, tmp_path, tmp_path, tmp_path)  # what was appended is left to the next look
    assert [document.text for document in config.read(tmp_path)] == ["text"]
    (books / "a.txt").write_text("TEXT")
    with pytest.raises(ChangedSinceLookError, match=r"a\.txt changed while .* 4 bytes .* Run again"):
        config.fetch(items, tmp_path, tmp_path, tmp_path)


def test_a_file_that_is_gone_comes_from_an_earlier_slot_or_is_an_error(books, tmp_path):
    for name in ("a.txt", "b.txt"):
        (books / name).write_text(f"text of {name}")
    config = FolderConfig(path="books", mirror=False)
    items = items_of(config, tmp_path)
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    config.fetch(items, tmp_path, first, tmp_path)
    (books / "a.txt").unlink()
    with pytest.raises(SourceError, match=r"books/a\.txt cannot be read any more .* mirror"):
        config.fetch(items, tmp_path, second, tmp_path)
    config.fetch(items, tmp_path, second, tmp_path, earlier=[first])
    assert texts(config.read(second)) == {"a.txt": "text of a.txt", "b.txt": "text of b.txt"}
    assert (second / "content.bin").read_bytes() == (first / "content.bin").read_bytes()


def test_a_file_that_fails_in_the_middle_is_not_mended_by_an_earlier_slot(books, tmp_path, monkeypatch):
    (books / "a.txt").write_text("text")
    config = FolderConfig(path="books")
    items = items_of(config, tmp_path)
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    config.fetch(items, tmp_path, first, tmp_path)
    monkeypatch.setattr("data.sources.folder.CHUNK", 1)
    open_file = open

    class FailingFile(io.FileIO):
        def read(self, size=-1):
            if self.tell() == 2:
                raise OSError(5, "Input/output error")
            return super().read(size)

    def fail(path, *more):
        return FailingFile(path) if os.fsencode(path).endswith(b"books/a.txt") else open_file(path, *more)

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(SourceError, match=r"a\.txt cannot be read any more \(Input/output error\)"):
        config.fetch(items, tmp_path, second, tmp_path, earlier=[first])


def test_identity_knows_no_path_and_names_of_encodings_are_one(tmp_path):
    one, two = (
        FolderConfig(path=path, fallback_encoding=code) for path, code in (("a/b/", "latin1"), ("c", "ISO-8859-1"))
    )
    assert one.identity() == two.identity() == {"kind": "folder"}
    assert one.reading_identity() == two.reading_identity()
    assert one.reading_identity() != FolderConfig(path="c", delimiter="--").reading_identity()
    assert one.location() == FolderConfig(path="a//./b").location() == "a/b"


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "a\0b"},
        {"fallback_encoding": "no-such"},
        {"fallback_encoding": "rot13"},
        {"fallback_encoding": "hex"},
        {"fallback_encoding": "unicode_escape"},
        {"fallback_encoding": "a\0"},
        {"delimiter": ""},
        {"delimiter": " --"},
        {"delimiter": "a\nb"},
        {"weight": 0},
        {"weight": float("inf")},
        {"slot_bytes": 0},
        {"misspelt": 1},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        FolderConfig(**{"path": "books", **wrong})


ENDINGS = st.sampled_from([".txt", ".md.gz", ".rst.bz2", ".text.xz", ".txt.zst", ".png"])
PACKED = st.one_of(st.text().map(str.encode), st.binary(max_size=200)).flatmap(
    lambda data: st.sampled_from(
        [data, gzip.compress(data), bz2.compress(data), lzma.compress(data), zstandard.compress(data)]
    )
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(ENDINGS, PACKED, st.integers(0, 40)), min_size=1, max_size=4),
    delimiter=st.sampled_from([None, "0"]),
)
def test_no_content_raises_anything_but_named_errors(tmp_path_factory, files, delimiter):
    root = tmp_path_factory.mktemp("any")
    (root / "books").mkdir()
    for number, (ending, data, cut) in enumerate(files):
        (root / "books" / f"{number}{ending}").write_bytes(data[: max(0, len(data) - cut)])
    config = FolderConfig(path="books", delimiter=delimiter)
    wanted = [f"{number}{ending}" for number, (ending, _, _) in enumerate(files) if ending != ".png"]
    if not wanted:
        with pytest.raises(SourceError):
            config.look(root)
        return
    found = fetch_and_read(config, root)
    named = {one.native_id.partition("#")[0] if isinstance(one, RawDocument) else one.where for one in found}
    assert named == set(wanted), "every file gives a document or a problem"


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
def test_sample_books_are_read_whole(tmp_path):
    config = FolderConfig(path=str(SHARED / "gutenberg"), fallback_encoding="latin1")
    found = texts(fetch_and_read(config, tmp_path))
    files = sorted((SHARED / "gutenberg").glob("*.txt"))
    assert found.keys() == {file.name for file in files}
    for file in files:
        data = file.read_bytes()
        try:
            expected = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            expected = data.decode("latin1")
        assert found[file.name] == "\n".join(expected.replace("\r\n", "\n").split("\r"))
