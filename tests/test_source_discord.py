"""The discord source on hand-made exports and on the sample: what is read, and what each second run changes."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from data.ledger import assign
from data.sources import discord
from data.sources.base import SourceError
from data.sources.chats import export_files as discord_files
from data.sources.chats.spare import Spare
from data.sources.discord import DiscordConfig
from data.sources.listing import marks_of
from data.sources.pack import ChangedSinceLookError
from tests.discord_exports import CHANNEL, chat, discord_runs, export, message, plain_conversations, sentences
from tests.source_runs import texts

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "discord"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample data are not here")
def test_the_sample_gives_what_a_plain_reader_finds(tmp_path):
    path = next(SHARED.glob("Example Guild*.json"))
    messages = json.loads(path.read_text())["messages"]
    assert len(messages) == 1200
    runs = discord_runs(tmp_path, path=str(SHARED))
    documents = runs.run()
    expected = plain_conversations(messages)
    kept = [one for conversation in expected for one in conversation]
    assert list(documents) == [f"{CHANNEL}/{one[0]['id']}" for one in expected]
    assert [one.meta["messages"] for one in documents.values()] == [len(one) for one in expected]
    reasons = Counter(
        one["type"] if one["type"] not in ("Default", "Reply") else "bot" if one["author"]["isBot"] else "empty"
        for one in messages
        if one not in kept
    )
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    assert runs.notes == [f"{len(kept)} messages used and {1200 - len(kept)} dropped: {said}"]
    assert set(runs.why) == {("foreign", "rest_messages.json"), ("foreign", "rest_rate_limits.json")}
    people = {one["author"]["id"] for one in kept}
    assert len({name for one in documents.values() for name in one.authors}) == len(people) == 7
    whole = "\n".join(texts(documents).values())
    assert not any(f"{secret}" in whole for person in people for secret in (person, "<@", "example_", "Example "))
    for conversation, document in zip(expected, documents.values(), strict=True):
        for one in conversation:
            words = one["content"].partition("<")[0]
            assert words.strip() in document.text
        assert document.created == conversation[0]["timestamp"].replace("+00:00", "").ljust(23, "0") + "+00:00"
    assert runs.run().keys() == documents.keys()
    assert str(runs.changes) == "nothing new, 1 unchanged"


def test_one_file_is_a_source_too(folder, tmp_path):
    (folder / "a.json").write_bytes(export(chat("2024-01-01T00:00", 3)))
    (folder / "b.json").write_bytes(export(chat("2024-02-01T00:00", 3)))
    documents = discord_runs(tmp_path, path="exports/a.json").run()
    assert len(sentences(documents)) == 3
    (one,) = documents.values()
    assert one.url.endswith(f"/{CHANNEL}/{chat('2024-01-01T00:00', 1)[0]['id']}")
    assert (one.created, one.meta["look"]) == ("2024-01-01T00:00:00.000+00:00", 1)


@pytest.mark.parametrize("name", ["same", "other"], ids=["into the same file", "into files with dates"])
def test_a_channel_exported_daily_changes_its_last_month_only(folder, tmp_path, name):
    messages = chat("2024-01-05T00:00", 800, minutes=55, pause_every=7, pause_minutes=700)
    assert {one["timestamp"][:7] for one in messages} == {f"2024-{month:02d}" for month in range(1, 4)}
    runs = discord_runs(tmp_path)
    before = {}
    for day, count in enumerate((600, 601, 603, 650, 800)):
        exported = f"2024-06-{day + 1:02d}T00:00:00.1234567+02:00"
        file = "general.json" if name == "same" else f"general {9 - day}.json"
        (folder / file).write_bytes(export(messages[:count], exported))
        documents = runs.run()
        expected = plain_conversations(messages[:count])
        assert [one.meta["messages"] for one in documents.values()] == [len(one) for one in expected]
        assert len(sentences(documents)) == count
        if day:
            assert (runs.changes.changed, runs.changes.new) == ((f"{CHANNEL}/2024-03",), ())
            assert texts(before).items() - texts(documents).items() <= {list(texts(before).items())[-1]}
        before = documents
    assert runs.run() == before
    assert str(runs.changes) == "nothing new, 3 unchanged"
    assert texts(discord_runs(tmp_path).run()) == texts(before), "with the ledger lost the documents are the same"


def test_a_conversation_over_the_end_of_a_month_stays_whole(folder, tmp_path):
    messages = chat("2024-01-31T23:40", 10) + chat("2024-02-01T03:00", 2)
    (folder / "a.json").write_bytes(export(messages[:3]))
    runs = discord_runs(tmp_path)
    assert [one.meta["messages"] for one in runs.run().values()] == [3]
    (folder / "b.json").write_bytes(export(messages, "2024-06-02T00:00:00+00:00"))
    assert [one.meta["messages"] for one in runs.run().values()] == [10, 2]
    assert (runs.changes.changed, runs.changes.new) == ((f"{CHANNEL}/2024-01",), (f"{CHANNEL}/2024-02",))


def test_an_edit_changes_its_month(folder, tmp_path):
    messages = [one for month in (1, 2, 3) for one in chat(f"2024-{month:02d}-10T00:00", 5)]
    (folder / "a.json").write_bytes(export(messages))
    runs = discord_runs(tmp_path)
    before = runs.run()
    messages[7] = messages[7] | {"content": "Other words.", "timestampEdited": "2024-05-01T00:00:00+00:00"}
    messages[1] = messages[1] | {"reactions": [{"emoji": {}, "count": 3}], "isPinned": True}
    (folder / "a.json").write_bytes(export(messages, "2024-06-02T00:00:00+00:00"))
    after = runs.run()
    assert runs.changes.changed == (f"{CHANNEL}/2024-02",), "what nobody wrote changes nothing"
    assert before.keys() == after.keys()
    assert "Other words." in list(after.values())[1].text


def test_a_file_that_is_removed_takes_its_messages_along(folder, tmp_path):
    for month in (1, 2):
        (folder / f"{month}.json").write_bytes(export(chat(f"2024-{month:02d}-10T00:00", 5)))
    (folder / "other.json").write_bytes(export(chat("2024-01-10T00:00", 5), channel="7"))
    runs = discord_runs(tmp_path)
    assert len(runs.run()) == 3
    (folder / "1.json").unlink()
    assert sorted(one.partition("/")[0] for one in runs.run()) == ["7", CHANNEL]
    assert runs.changes.deleted == (f"{CHANNEL}/2024-01",)


def test_a_month_that_is_gone_comes_from_the_slot_that_has_it(folder, tmp_path):
    (folder / "1.json").write_bytes(export(chat("2024-01-10T00:00", 5)))
    (folder / "2.json").write_bytes(export(chat("2024-02-10T00:00", 5)))
    config = DiscordConfig(path="exports", mirror=False)
    ledger, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    out, again = tmp_path / "out", tmp_path / "again"
    out.mkdir()
    again.mkdir()
    config.fetch(slots[0].items, tmp_path, out, out)
    (folder / "1.json").unlink()
    _, slots, changes = assign(ledger, config.look(tmp_path), config.slot_bytes, "2024", mirror=False)
    assert changes.absent == (f"{CHANNEL}/2024-01",)
    with pytest.raises(SourceError, match=r"No export in .*exports has .*2024-01 any more.*mirror"):
        config.fetch(slots[0].items, tmp_path, again, again)
    config.fetch(slots[0].items, tmp_path, again, again, earlier=[out])
    assert (again / "content.bin").read_bytes() == (out / "content.bin").read_bytes()


def test_fetching_in_another_process_reads_the_files_again(folder, tmp_path, monkeypatch):
    (folder / "a.json").write_bytes(export(chat("2024-01-10T00:00", 5)))
    config = DiscordConfig(path="exports")
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    monkeypatch.setattr(discord_files, "_latest", {})
    config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    assert len(sentences({one.native_id: one for one in config.read(tmp_path)})) == 5
    (folder / "a.json").write_bytes(export(chat("2024-01-10T00:00", 6)))
    with pytest.raises(ChangedSinceLookError, match="changed while"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    (folder / "a.json").unlink()
    with pytest.raises(SourceError, match=r"No export"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)


def test_slots_fetched_at_once_read_a_file_once(folder, tmp_path, monkeypatch):
    (folder / "a.json").write_bytes(export(chat("2024-01-05T00:00", 300, minutes=400)))
    config = DiscordConfig(path="exports", slot_bytes=1000)
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    monkeypatch.setattr(discord_files, "_latest", {})
    read = []
    index_file = discord_files.index_file
    monkeypatch.setattr(discord_files, "index_file", lambda *given: (read.append(1), index_file(*given))[1])

    def fetch(slot):
        out = tmp_path / str(slot.number)
        out.mkdir()
        return config.fetch(slot.items, tmp_path, out, out).counts["items"]

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(fetch, slots)) == [1, 1, 1]
    assert len(read) == 1


def test_what_a_look_has_parsed_is_kept_while_there_is_room(folder, tmp_path, monkeypatch):
    (folder / "a.json").write_bytes(export(chat("2024-01-05T00:00", 300, minutes=400)))
    config = DiscordConfig(path="exports")
    month_lines, parsed, contents = discord.month_lines, [], {}
    monkeypatch.setattr(discord, "month_lines", lambda *given: (parsed.append(1), month_lines(*given))[1])
    for limits in ((0,), (8_000,), (10_000, 10_000), (10_000, 1_000_000), (1_000_000,)):
        spare = Spare(*limits)
        monkeypatch.setattr(discord_files, "spare", spare)
        _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
        parsed.clear()
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
        contents[limits] = len(parsed), (tmp_path / "content.bin").read_bytes()
        assert spare.take(slots[0].items[0].fingerprint) is None, "it is kept once"
    assert len({content for _, content in contents.values()}) == 1
    counts = {limits: count for limits, (count, _) in contents.items()}
    assert counts == {(0,): 3, (8_000,): 2, (10_000, 10_000): 1, (10_000, 1_000_000): 0, (1_000_000,): 0}


def test_a_full_disk_costs_another_reading_only(monkeypatch):
    spare = Spare(10, 30)
    for number in range(3):
        spare.put(str(number), [b"12345", str(number).encode() * 5])
    assert spare.take("0") == [b"1234500000"]
    spare.put("3", [b"x" * 10])
    spare.put("4", [b"y" * 10])  # the file is full, so what was in it goes
    assert [spare.take(str(number)) for number in range(5)] == [None, None, None, [b"x" * 10], [b"y" * 10]]

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    spare.put("5", [b"a" * 10])
    spare.put("6", [b"b" * 10])
    assert (spare.take("5"), spare.take("6")) == (None, [b"b" * 10])


def test_small_slots_hold_a_month_each(folder, tmp_path):
    (folder / "a.json").write_bytes(export(chat("2024-01-05T00:00", 300, minutes=400)))
    whole = discord_runs(tmp_path).run()
    runs = discord_runs(tmp_path, slot_bytes=1000)
    small = runs.run()
    assert len(runs.slots) == 3
    assert texts(small) == texts(whole)


def test_a_memo_saves_reading_and_changes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(discord_files, "_SETTLED_NS", -(10**12))
    messages = chat("2024-01-05T00:00", 300, minutes=400)
    for number, part in enumerate((messages[:200], messages[:250], messages[100:])):
        (folder / f"{number}.json").write_bytes(export(part, f"2024-06-0{number + 1}T00:00:00Z"))
    config = DiscordConfig(path="exports")
    first = config.look(tmp_path)
    memo = json.loads(json.dumps(first.memo))
    opened = []
    real = discord_files.Exports.open
    monkeypatch.setattr(discord_files.Exports, "open", lambda self, name: (opened.append(name), real(self, name))[1])
    assert config.look(tmp_path, memo) == first
    assert opened == []
    (folder / "3.json").write_bytes(export(chat("2024-09-05T00:00", 3)))
    second = config.look(tmp_path, memo)
    assert opened == ["3.json"]
    assert second == config.look(tmp_path)
    opened.clear()
    assert DiscordConfig(path="exports", silence_minutes=10).look(tmp_path, memo).items
    assert set(opened) == {f"{number}.json" for number in range(4)}, "with another silence months begin elsewhere"


@pytest.mark.parametrize("memo", [[], 1, {"format": 1}, {"format": 1, "silence": 60, "files": [], "merged": 3}])
def test_a_foreign_memo_is_not_trusted(folder, tmp_path, memo):
    (folder / "a.json").write_bytes(export(chat("2024-01-10T00:00", 5)))
    config = DiscordConfig(path="exports")
    look = config.look(tmp_path)
    assert config.look(tmp_path, memo).items == look.items
    marks = marks_of((folder / "a.json").stat())
    for entry in ([marks, {}], [marks, {"segments": [{}]}], [marks], marks, None):
        memo = {"format": 1, "silence": 60, "files": {"a.json": entry}, "merged": {}}
        assert config.look(tmp_path, memo).items == look.items


def test_a_secret_that_is_missing_is_missed_at_once(folder, tmp_path, monkeypatch):
    (folder / "a.json").write_bytes(export([message("2024-01-01T00:00", author="42")]))
    named = discord_runs(tmp_path).run()
    monkeypatch.delenv("TEXTMILL_PSEUDONYM_KEY")
    config = DiscordConfig(path="exports")
    for act in (lambda: config.look(tmp_path), config.reading_identity, lambda: list(config.read(tmp_path))):
        with pytest.raises(SourceError, match="TEXTMILL_PSEUDONYM_KEY"):
            act()
    numbered = discord_runs(tmp_path, pseudonyms="numbered")
    assert [one.text for one in numbered.run().values()] == ["Speaker 1: Some words."]
    assert [one.text for one in named.values()] != ["Speaker 1: Some words."]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder: folder.rmdir(), "exports does not exist"),
        (lambda folder: None, "holds no message of a Discord export (it is empty)"),
        (lambda folder: (folder / "a.txt").write_text("x"), "files of kinds that are not read: 1, .txt (1)"),
        (lambda folder: (folder / "a.json").write_text("[]"), "a.json: foreign: no export of DiscordChatExporter"),
        (lambda folder: (folder / "a.json").write_bytes(export([])), "a.json: empty: the export holds no message"),
    ],
)
def test_nothing_to_read_is_an_error_with_the_path(folder, tmp_path, prepare, said):
    prepare(folder)
    with pytest.raises(SourceError) as caught:
        DiscordConfig(path="exports").look(tmp_path)
    assert said in str(caught.value)


def test_identity_knows_no_path_and_no_secret():
    one, two = DiscordConfig(path="a/b/"), DiscordConfig(path="c")
    assert one.identity() == two.identity()
    assert one.reading_identity() == two.reading_identity()
    assert "tests" not in json.dumps(one.reading_identity())
    for setting in ({"silence_minutes": 30}, {"maximum_characters": 2000}, {"pseudonyms": "numbered"}):
        assert DiscordConfig(path="c", **setting).reading_identity() != two.reading_identity()
    assert DiscordConfig(path="c", silence_minutes=30).identity() != two.identity()
    assert one.location() == DiscordConfig(path="a//./b").location()


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "a\0"},
        {"silence_minutes": 0},
        {"silence_minutes": float("inf")},
        {"maximum_characters": 1},
        {"pseudonyms": "none"},
        {"pseudonym_key": ""},
        {"misspelt": 1},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        DiscordConfig(**{"path": "exports", **wrong})


def test_paths_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    for path in ("~nobody-of-this-name/x", "circle", "x" * 300):
        with pytest.raises(SourceError, match=r"nobody|circle|xxx"):
            DiscordConfig(path=path).look(tmp_path)


def test_an_export_that_cannot_be_opened_is_named(folder, tmp_path, monkeypatch):
    for name in ("a.json", "b.json"):
        (folder / name).write_bytes(export(chat("2024-01-10T00:00", 3)))
    config = DiscordConfig(path="exports")
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    real = discord_files.Exports.open

    def fail(self, name):
        if name in failing:
            raise OSError(5, "Input/output error")
        return real(self, name)

    monkeypatch.setattr(discord_files.Exports, "open", fail)
    failing = {"b.json"}
    assert [str(problem) for problem in config.look(tmp_path).problems] == ["b.json: unreadable: Input/output error"]
    failing = set()
    config.look(tmp_path)
    failing = {"a.json", "b.json"}
    monkeypatch.setattr(discord_files, "spare", Spare(0))
    with pytest.raises(SourceError, match=r"exports of .*2024-01 .* cannot be read any more \(Input/output error\)"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
