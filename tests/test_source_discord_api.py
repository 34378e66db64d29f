"""The discord-api source over real HTTP: what lies in its slots, what a second run asks for, what is read."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.ledger import assign
from data.sources.base import SourceError
from data.sources.chats.rest import BlockedError
from tests.discord_toys import DAY, GENERAL, OTHER, at, chatter, config, fast_clock, serve, two_channels
from tests.remote_runs import Runs
from tests.source_runs import problems, texts
from tests.stand_in_discord import message, snowflake

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "discord"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return fast_clock(monkeypatch)


@pytest.fixture
def discord(clock, monkeypatch):
    with serve(monkeypatch, clock, two_channels()) as server:
        yield server


def test_messages_lie_in_the_slot_as_they_came_one_item_a_month(discord, tmp_path, clock):
    runs = Runs(tmp_path)
    look, changes = runs.run(config())
    assert changes.new == (f"{GENERAL}/2024-01", f"{GENERAL}/2024-03", f"{GENERAL}/2024-05")
    assert not look.complete
    assert runs.lines() == discord.channels[GENERAL]
    newest = [discord.channels[GENERAL][place]["id"] for place in (349, 469, 470)]
    assert [item.fingerprint for item in look.items] == newest
    assert discord.refused == []
    last = runs.read(config())[-1]
    assert last.native_id == f"{GENERAL}/{newest[-1]}"
    assert last.url == f"https://discord.com/channels/800000000000000001/{GENERAL}/{newest[-1]}"
    assert (last.created, last.meta["messages"], last.meta["look"]) == ("2024-05-01T12:00:00.000+00:00", 1, 1)
    assert len(last.authors) == 1 and last.text == f"{last.authors[0]}: May"
    assert "name of" not in last.text


def test_a_look_costs_a_request_a_month_and_nothing_new_one(discord, tmp_path):
    runs = Runs(tmp_path)
    first, _ = runs.run(config())
    looked = [query for query in discord.asked_for_messages() if "after" not in query]
    assert [query.get("before") for query in looked] == [
        None, snowflake(at(2024, 3, hour=0)), snowflake(at(2024, 1, hour=0)),
    ]  # fmt: skip
    discord.requests.clear()
    _, changes = runs.run(config())
    assert str(changes) == "nothing new, 3 unchanged"
    assert discord.requests == [(f"/api/v10/channels/{GENERAL}", {})]
    assert config().look(tmp_path).items == first.items, "without the memo the result is the same"


def test_only_new_messages_are_fetched(discord, tmp_path):
    runs = Runs(tmp_path)
    runs.run(config())
    discord.requests.clear()
    known = discord.channels[GENERAL][-1]["id"]
    discord.say(GENERAL, *chatter(150, at(2024, 5, 3), 1000))
    _, changes = runs.run(config())
    assert changes.changed == (f"{GENERAL}/2024-05",)
    after = [int(query["after"]) for query in discord.asked_for_messages() if "after" in query]
    assert after[0] == int(known) and len(after) == 2, "150 messages, in two pages behind the last one known"
    assert runs.lines() == discord.channels[GENERAL]

    discord.requests.clear()
    discord.say(GENERAL, message(at(2024, 6), "June"))  # a month begins
    _, changes = runs.run(config())
    assert (changes.new, changes.changed) == ((f"{GENERAL}/2024-06",), ())
    assert len([query for query in discord.asked_for_messages() if "after" in query]) == 1
    assert runs.lines() == discord.channels[GENERAL]


def test_deletions_and_edits_of_what_is_known_change_nothing(discord, tmp_path):
    runs = Runs(tmp_path)
    runs.run(config())
    before = runs.lines()
    del discord.channels[GENERAL][10]
    discord.channels[GENERAL][20]["content"] = "edited"
    discord.say(GENERAL, message(at(2024, 5, 9), "one more"))
    runs.run(config())
    assert runs.lines() == [*before, discord.channels[GENERAL][-1]]
    del discord.channels[GENERAL][-1]  # the newest of all
    _, changes = runs.run(config())
    assert changes.deleted == ()
    assert len(runs.lines()) == len(before) + 1
    discord.say(GENERAL, message(at(2024, 5, 10), "and another"))
    runs.run(config())
    assert [one["content"] for one in runs.lines()[-2:]] == ["one more", "and another"]


def test_a_lost_ledger_gives_the_same_slots(discord, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = Runs(tmp_path / "one"), Runs(tmp_path / "two")
    first.run(config())
    discord.say(OTHER, message(at(2024, 7), "elsewhere"))
    second.run(config())
    assert first.ledger == second.ledger
    assert first.lines() == second.lines()


def test_the_order_of_the_channels_changes_nothing(discord, tmp_path):
    look = config(channels=(GENERAL, OTHER)).look(tmp_path)
    assert config(channels=(OTHER, GENERAL, OTHER)).look(tmp_path).items == look.items
    assert [item.native_id.partition("/")[0] for item in look.items] == [GENERAL] * 3 + [OTHER]


def test_what_comes_between_look_and_fetch_waits_for_the_next_look(discord, tmp_path):
    source = config()
    look = source.look(tmp_path)
    [slot] = assign(None, look, source.slot_bytes, "1")[1]
    discord.say(GENERAL, message(at(2024, 5, 20), "later"))
    gone = discord.channels[GENERAL].pop(469)  # the newest of March is deleted
    source.fetch(slot.items, tmp_path, tmp_path, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "content.bin").read_bytes().splitlines()]
    assert [one["id"] for one in lines] == [one["id"] for one in discord.channels[GENERAL][:-1] if one is not gone]


def test_a_killed_fetch_goes_on_behind_the_last_whole_message(discord, tmp_path):
    source = config()
    items = assign(None, source.look(tmp_path), 10**9, "1")[1][0].items
    discord.requests.clear()

    def stop(done, total, unit):
        if len(discord.requests) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.fetch(items, tmp_path, tmp_path, tmp_path, stop)
    [kept] = tmp_path.glob(f"{GENERAL}-*")
    with kept.open("ab") as file:
        file.write(b'{"id": "123')  # as a power cut may leave it
    discord.requests.clear()
    source.fetch(items, tmp_path, tmp_path, tmp_path)
    assert discord.asked_for_messages()[0]["after"] == discord.channels[GENERAL][199]["id"]
    lines = [json.loads(line) for line in (tmp_path / "content.bin").read_bytes().splitlines()]
    assert lines == discord.channels[GENERAL]


def test_a_channel_taken_out_is_not_read_and_not_asked_for(discord, tmp_path):
    runs = Runs(tmp_path)
    both = config(channels=(GENERAL, OTHER))
    runs.run(both)
    assert len(texts(runs.read(both))) > len(texts(runs.read(config())))
    assert problems(runs.read(config())) == {("left_out", f"{OTHER}/2024-05")}
    assert both.reading_identity() != config().reading_identity()
    assert (both.identity(), both.location()) == (config().identity(), config().location())
    items = assign(None, both.look(tmp_path), 10**9, "1")[1][0].items
    discord.requests.clear()
    config().fetch(items, tmp_path, tmp_path, tmp_path)
    assert all(OTHER not in path for path, _ in discord.requests)
    assert problems(both.read(tmp_path)) == {("not_fetched", f"{OTHER}/2024-05")}


def test_replies_bots_joins_and_empty_messages(clock, monkeypatch, tmp_path):
    begin = at(2024, 1)
    first = message(begin, "Has anybody seen it?", "1" * 18)
    lost = message(begin - DAY, "Long ago", "2" * 18)
    channel = [
        first,
        message(begin + 1000, "Yes <@" + "1" * 18 + ">", "2" * 18),
        message(begin + 2000, "beep") | {"author": {"id": "3" * 18, "bot": True}},
        message(begin + 3000, "hook", "4" * 18, webhook_id="5" * 18),
        message(begin + 4000, "", "1" * 18),
        message(begin + 5000, "", "1" * 18, type=7),
        message(begin + 6000, "No", "4" * 18, type=19, message_reference={"message_id": first["id"]}),
        message(begin + 7000, "Me neither", "5" * 18, type=19, message_reference={"message_id": lost["id"]})
        | {"referenced_message": lost},
    ]
    with serve(monkeypatch, clock, {GENERAL: channel}):
        source = config(pseudonyms="numbered")
        runs, notes = Runs(tmp_path), []
        runs.run(source)
        [document] = runs.read(source, notes)
    assert document.text.splitlines() == [
        "Speaker 1: Has anybody seen it?",
        "Speaker 2: Yes @Speaker 1",
        "Speaker 3 (to Speaker 1): No",
        "> Speaker 2: Long ago",
        "Speaker 4: Me neither",
    ]
    assert notes == ["4 messages used and 4 dropped: 2 bot, 1 empty, 1 kind_7"]


def test_a_bot_without_the_message_content_intent_is_told(clock, monkeypatch, tmp_path):
    channel = [message(at(2024, 1) + number, "") for number in range(20)]
    with serve(monkeypatch, clock, {GENERAL: channel}):
        runs, notes = Runs(tmp_path), []
        runs.run(config())
        assert runs.read(config(), notes) == []
    assert "Message Content intent" in notes[-1]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not here")
def test_the_recorded_messages_come_through(clock, monkeypatch, tmp_path):
    recorded = json.loads((SHARED / "rest_messages.json").read_text())[::-1]
    errors = json.loads((SHARED / "rest_rate_limits.json").read_text())
    with serve(monkeypatch, clock, {GENERAL: recorded}) as server:
        for name in ("route_429", "global_429"):
            server.fail(429, errors[name]["body"], errors[name]["headers"])
        runs, notes = Runs(tmp_path), []
        runs.run(config())
        assert runs.lines() == recorded
        documents = runs.read(config(), notes)
        for name, error in (
            ("unauthorized", "401: Unauthorized"),
            ("missing_access", "50001"),
            ("unknown_channel", "10003"),
        ):
            server.fail(errors[name]["status"], errors[name]["body"])
            with pytest.raises(SourceError, match=error):
                config().look(tmp_path)
        blocked = errors["cloudflare_429"]
        server.fail(429, blocked["body"].encode(), blocked["headers"])
        with pytest.raises(BlockedError, match="600 s"):
            config().look(tmp_path)
    kept = [one for one in recorded if one["type"] in (0, 19) and one["content"] and not one["author"].get("bot")]
    assert sum(document.meta["messages"] for document in documents) == len(kept) == 201
    assert {document.native_id.partition("/")[2] for document in documents} <= {one["id"] for one in kept}
    names = {one["author"]["username"] for one in recorded}
    assert not any(name in document.text for document in documents for name in names)


def test_sizes_are_exact_or_estimated_at_the_pace_of_the_last_messages(clock, monkeypatch, tmp_path):
    hourly = chatter(31 * 24 + 5, at(2024, 1, hour=0), 3_600_000)  # all of January, and five messages in February
    with serve(monkeypatch, clock, {GENERAL: hourly}):
        january, february = config().look(tmp_path).items
    sizes = [len(json.dumps(one, separators=(",", ":"))) + 1 for one in hourly]
    assert february.size == sum(sizes[-5:])
    assert january.size == pytest.approx(sum(sizes[:-5]), rel=0.05)


def test_any_distribution_over_months_is_found_whole(clock, monkeypatch, tmp_path):
    """Against plain grouping by month, for channels of many shapes."""
    chance = random.Random(7)
    for shape in range(12):
        times = sorted(
            at(2020 + chance.randrange(4), chance.randrange(1, 13)) + chance.randrange(20 * DAY)
            for _ in range(chance.choice((1, 5, 99, 100, 101, 250, 600)))
        )
        channel = [message(time, "text", number=number) for number, time in enumerate(times)]
        channel.sort(key=lambda one: int(one["id"]))
        expected = {}
        for one in channel:
            when = datetime.fromtimestamp(((int(one["id"]) >> 22) + 1_420_070_400_000) / 1000, UTC)
            expected[f"{GENERAL}/{when:%Y-%m}"] = one["id"]
        with serve(monkeypatch, clock, {GENERAL: channel}):
            folder = tmp_path / str(shape)
            folder.mkdir()
            runs = Runs(folder)
            look, _ = runs.run(config())
        assert {item.native_id: item.fingerprint for item in look.items} == expected
        assert runs.lines() == channel
