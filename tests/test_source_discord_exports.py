"""Exports of every form: how a file is written, cut, damaged or ordered, and what several of one channel make."""

import json
import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sources.base import Problem, SourceError
from data.sources.chats import export as discord_export
from data.sources.chats import export_index as discord_index
from data.sources.chats.messages import milliseconds
from data.sources.discord import DiscordConfig
from tests.discord_exports import CHANNEL, chat, discord_runs, export, message, ms, plain_conversations, sentences
from tests.source_runs import texts

MESSAGES = chat("2024-01-20T00:00", 300, minutes=50, pause_every=6, pause_minutes=300)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


def read(tmp_path, files, **settings):
    """The run over these files, and its documents."""
    for name, data in files.items():
        (tmp_path / "exports" / name).write_bytes(data)
    runs = discord_runs(tmp_path, **settings)
    return runs, runs.run()


def in_one_line(data):
    return json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":")).encode()


FORMS = {
    "with Windows' line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "with a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "in one line": in_one_line,
    "indented by tabs": lambda data: json.dumps(json.loads(data), indent="\t").encode(),
    "indented by one space": lambda data: json.dumps(json.loads(data), indent=1, ensure_ascii=False).encode(),
    "with keys sorted": lambda data: json.dumps(json.loads(data), indent=2, sort_keys=True).encode(),
    "newest first": lambda data: export(MESSAGES[::-1]),
    "in disorder": lambda data: export(MESSAGES[100:] + MESSAGES[:150]),
    "with unknown keys": lambda data: export(
        [one | {"poll": {"messages": [{"id": "1"}]}} for one in MESSAGES], new=[1]
    ),
    "without newer keys": lambda data: export(
        [
            {name: one[name] for name in ("id", "type", "timestamp", "content")}
            | {"author": {name: one["author"][name] for name in ("id", "name", "isBot")}}
            for one in MESSAGES
        ]
    ),
}


@pytest.mark.parametrize("block", [1 << 20, 2000], ids=["in one block", "in many blocks"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_gives_the_same(folder, tmp_path, monkeypatch, form, block):
    monkeypatch.setattr(discord_export, "BLOCK_BYTES", block)
    runs, documents = read(tmp_path, {"a.json": FORMS[form](export(MESSAGES))})
    assert runs.why == {}
    assert [one.meta["messages"] for one in documents.values()] == [len(one) for one in plain_conversations(MESSAGES)]
    assert sentences(documents) == [one["content"] for one in MESSAGES]
    assert [item.native_id for item in runs.config.look(tmp_path).items] == [
        f"{CHANNEL}/{month}" for month in ("2024-01", "2024-02")
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-01-01T00:00:00+00:00", "2024-01-01T00:00:00"),
        ("2024-01-01T00:00:00.1+02:00", "2023-12-31T22:00:00.1"),
        ("2024-01-01T00:00:00.1234567-05:30", "2024-01-01T05:30:00.123"),
        ("2024-01-01T00:00:00.12Z", "2024-01-01T00:00:00.12"),
        ("2024-01-01T00:00:00", "2024-01-01T00:00:00"),
    ],
)
def test_times_have_offsets_and_up_to_seven_digits(written, meant):
    assert milliseconds(written) == ms(meant)


def test_mentions_by_name_become_names(folder, tmp_path):
    people = [{"id": "1", "name": "al", "nickname": "Al Smith"}, {"id": "2", "name": "al.b", "nickname": None}]
    found = [
        message("2024-01-01T00:00", "one", author="1"),
        message("2024-01-01T00:01", "two", author="2"),
        message("2024-01-01T00:02", "@Al Smith @al.b @al @al#1234 @alice al@b.org <@2>", author="3", mentions=people),
    ]
    _, documents = read(tmp_path, {"a.json": export(found)})
    (one,) = documents.values()
    first, second, _ = one.authors
    assert one.text.split("\n")[2].partition(": ")[2] == (
        f"@{first} @{second} @{first} @{first} @alice al@b.org @{second}"
    )


def test_replies_are_found_again(folder, tmp_path):
    first, later = message("2024-01-01T00:00", "A question?"), message("2024-01-02T00:00", "An answer.", author="2")
    reply = later | {"type": "Reply", "reference": {"messageId": first["id"], "channelId": CHANNEL}}
    _, documents = read(tmp_path, {"a.json": export([first, reply])})
    asker, answerer = (one.authors[0] for one in documents.values())
    assert [one.text for one in documents.values()] == [
        f"{asker}: A question?",
        f"> {asker}: A question?\n{answerer}: An answer.",
    ]


def test_parts_of_an_export_make_one(folder, tmp_path):
    parts = {f"general [part {n + 1}].json": export(MESSAGES[n * 100 + 3 : n * 100 + 103]) for n in range(3)}
    parts["general.json"] = export(MESSAGES[:3])
    _, documents = read(tmp_path, parts)
    assert sentences(documents) == [one["content"] for one in MESSAGES]


def test_the_newest_edit_wins_whatever_the_order_of_files(folder, tmp_path):
    def version(text, edited=None):
        return [message("2024-01-01T00:00", text, timestampEdited=edited), message("2024-01-01T00:01", "And this.")]

    exports = [
        export(version("Never edited, exported last."), "2024-09-01T00:00:00Z"),
        export(version("Edited first.", "2024-02-01T00:00:00Z"), "2024-08-01T00:00:00Z"),
        export(version("Edited last.", "2024-03-01T00:00:00+09:00"), "2024-05-01T00:00:00Z"),
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        _, documents = read(tmp_path, {f"{place}.json": exports[number] for place, number in enumerate(order)})
        assert sentences(documents) == ["Edited last.", "And this."]
        tmp_path = Path(tempfile.mkdtemp(dir=tmp_path))
        (tmp_path / "exports").mkdir()
    same = [export(version("old"), "2024-05-01T00:00:00Z"), export(version("new"), "2024-05-02T00:00:00Z")]
    _, documents = read(tmp_path, {"a.json": same[1], "b.json": same[0]})
    assert sentences(documents) == ["new", "And this."]


@settings(max_examples=40, deadline=None)
@given(
    pauses=st.lists(st.sampled_from([1, 30, 59, 60, 200, 3000, 20_000]), min_size=1, max_size=60),
    windows=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60), st.integers(1, 28)), min_size=1, max_size=4),
)
def test_exports_of_parts_hold_every_message_once(pauses, windows):
    at, messages = ms("2024-01-25T00:00"), []
    for number, pause in enumerate(pauses):
        at += pause * 60_000
        messages.append(message(_iso(at), f"Message {number}.", str(number % 3)))
    parts = {(begin % len(messages), length, day) for begin, length, day in windows}
    files = {
        f"{number}.json": export(messages[begin : begin + length], f"2026-01-{day:02d}T00:00:00Z")
        for number, (begin, length, day) in enumerate(sorted(parts))
    }
    covered = sorted({number for begin, length, _ in parts for number in range(begin, begin + length)})
    expected = [messages[number] for number in covered if number < len(messages)]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "exports").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")
            _, documents = read(Path(name), files)
    assert sentences(documents) == [one["content"] for one in expected]
    if len(files) == 1:
        assert [one.meta["messages"] for one in documents.values()] == [
            len(one) for one in plain_conversations(expected)
        ]


def _iso(at):
    return datetime.fromtimestamp(at / 1000, UTC).replace(tzinfo=None).isoformat()


@pytest.mark.parametrize("form", [lambda data: data, in_one_line], ids=["indented", "in one line"])
@pytest.mark.parametrize("block", [1 << 20, 3000])
def test_a_damaged_message_costs_itself(folder, tmp_path, monkeypatch, form, block):
    monkeypatch.setattr(discord_export, "BLOCK_BYTES", block)
    monkeypatch.setattr(discord_export, "MESSAGE_BYTES", 20_000)
    data = form(export(MESSAGES)).replace(b'"Message 33 of', b'"Message 33" of')
    runs, documents = read(tmp_path, {"a.json": data})
    assert list(runs.why) == [("damaged", "a.json")]
    (problem,) = runs.config.look(tmp_path).problems
    place = data.rindex(b"{", 0, data.index(MESSAGES[33]["id"].encode()))
    assert problem.why == f"1 message unreadable, at byte {place}; the others are used"
    lost = [one["content"] for one in MESSAGES if one["content"] not in sentences(documents)]
    assert MESSAGES[33]["content"] in lost
    assert len(lost) <= 2


def test_what_is_no_message_is_counted(folder, tmp_path):
    good = MESSAGES[:3]
    bad = [
        good[0] | {"id": "12a"},
        good[0] | {"id": "1" * 30},
        good[0] | {"id": None},
        good[0] | {"timestamp": "yesterday"},
        good[0] | {"timestamp": "0001-01-01T00:00:00+14:00"},
        good[0] | {"author": None},
        good[0] | {"content": 5},
        good[0] | {"mentions": [5]},
        {},
    ]
    runs, documents = read(tmp_path, {"a.json": export([*bad, *good])})
    assert sentences(documents) == [one["content"] for one in good]
    (problem,) = runs.config.look(tmp_path).problems
    assert f"{len(bad)} messages unreadable" in problem.why


def test_half_characters_become_question_marks(folder, tmp_path):
    data = export([MESSAGES[0], message("2024-01-20T00:06", "Half \ud83d of one")])
    data = data.replace("\ud83d".encode("utf-8", "surrogatepass"), b"\\ud83d")
    _, documents = read(tmp_path, {"a.json": data})
    assert sentences(documents)[1] == "Half ? of one"


def test_a_cut_export_gives_what_is_there(folder, tmp_path, monkeypatch):
    messages = MESSAGES[:4]
    data = export(messages)
    begin = data.index(b"[\n    {")
    for form in (data, in_one_line(data)):
        for end in range(begin if form is data else len(form) // 3, len(form) - 40, 41):
            (folder / "a.json").write_bytes(form[:end])
            whole = [one for one, following in pairwise(messages) if form.find(following["id"].encode()) < end]
            try:
                look = DiscordConfig(path="exports").look(tmp_path)
            except SourceError as error:
                assert not whole
                assert "a.json: cut" in str(error) or "foreign" in str(error)
                continue
            assert {problem.what for problem in look.problems} <= {"cut", "damaged"}
            assert form[:end].rstrip(b" \n").endswith(b"]") or look.problems
            runs = discord_runs(tmp_path)
            found = sentences(runs.run())
            assert found[: len(whole)] == [one["content"] for one in whole]


def test_a_record_that_was_damaged_on_disk_is_named(folder, tmp_path):
    runs, _documents = read(tmp_path, {"a.json": export(MESSAGES)})
    path = runs.slots[0][1] / "content.bin"
    records = path.read_bytes().split(b"\n")
    records[7:9] = [b"\xff" + records[7][1:], b"[" * len(records[8])]
    path.write_bytes(b"\n".join(records))
    found = list(runs.read())
    (problem,) = (one for one in found if isinstance(one, Problem))
    assert str(problem) == f"{CHANNEL}/2024-01: damaged: 2 records unreadable"
    left = sentences({one.native_id: one for one in found if one is not problem})
    assert left == [one["content"] for one in MESSAGES[:7] + MESSAGES[9:]]


def test_a_large_file_out_of_order_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(discord_index, "SORTED_BYTES", 1000)
    (folder / "a.json").write_bytes(export(MESSAGES[::-1]))
    with pytest.raises(SourceError, match=r"unordered: its messages are not oldest first.*export it oldest first"):
        DiscordConfig(path="exports").look(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MADE = (
    st.builds(
        lambda base, more: base | more,
        st.sampled_from(MESSAGES),
        st.dictionaries(
            st.sampled_from(
                ["id", "type", "timestamp", "timestampEdited", "content", "author", "mentions", "reference"]
            ),
            JSON,
        ),
    )
    | JSON
)


@settings(max_examples=60, deadline=None)
@given(
    messages=st.lists(MADE, max_size=6),
    indent=st.sampled_from([None, 2]),
    cut=st.integers(0, 300),
    noise=st.tuples(st.integers(0, 4000), st.binary(max_size=5)),
)
def test_no_content_raises_anything_but_named_errors(messages, indent, cut, noise):
    data = export(messages, indent=indent)
    data = data[: max(0, len(data) - cut)]
    at = noise[0] % (len(data) + 1)
    data = data[:at] + noise[1] + data[at:]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")
        (Path(name) / "exports").mkdir()
        (Path(name) / "exports" / "a.json").write_bytes(data)
        runs = discord_runs(Path(name))
        try:
            documents = runs.run()
        except SourceError:
            return
    assert all(texts(documents).values())
