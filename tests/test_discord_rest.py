"""Discord's rules, kept: permission, tokens that are shown nowhere, limits, refusals that are not repeated."""

import logging
import threading

import pytest
from pydantic import TypeAdapter, ValidationError

from data.ledger import assign
from data.sources.base import SourceError
from data.sources.chats.rest import BlockedError
from data.sources.discord_api import DiscordApiConfig
from data.sources.registry import AnySource
from flows.recipe import RecipeError, read_recipe
from tests.discord_toys import GENERAL, OTHER, TOKEN, at, chatter, config, fast_clock, serve, two_channels
from tests.remote_runs import Runs


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return fast_clock(monkeypatch)


@pytest.fixture
def discord(clock, monkeypatch):
    with serve(monkeypatch, clock, two_channels()) as server:
        yield server


def test_limits_are_kept_by_several_fetches_at_once(clock, monkeypatch, tmp_path):
    channels = {f"80000000000000001{number}": chatter(1200, at(2024, 1), 60_000) for number in range(4)}
    with serve(monkeypatch, clock, channels, bucket_limit=2, bucket_seconds=3.0) as server:
        source = config(channels=tuple(channels))
        slots = assign(None, source.look(tmp_path), 1, "1")[1]
        assert len(slots) == 4
        folders = [tmp_path / str(slot.number) for slot in slots]
        for folder in folders:
            folder.mkdir()
        threads = [
            threading.Thread(target=source.fetch, args=(slot.items, folder, folder, folder))
            for slot, folder in zip(slots, folders, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.refused == [], "nobody asked too often"
        assert len(server.asked_for_messages()) == 4 * (1 + 1 + 12)
        assert clock.time >= 3.0 * 6, "two requests every three seconds for each channel"


@pytest.mark.parametrize(
    ("body", "headers", "least"),
    [
        ({"retry_after": 0.65, "global": False}, {"Retry-After": "1", "X-RateLimit-Scope": "user"}, 1.0),
        ({"retry_after": 1.336, "global": True}, {"Retry-After": "2", "X-RateLimit-Global": "true"}, 2.0),
        ({"retry_after": 7.5, "global": False}, {"X-RateLimit-Scope": "shared"}, 7.5),
        ({}, {"X-RateLimit-Reset-After": "4.25"}, 4.25),
    ],
)
def test_a_429_is_waited_out(discord, tmp_path, clock, body, headers, least):
    discord.fail(429, body, headers)
    assert len(config().look(tmp_path).items) == 3
    assert least <= clock.time < least + 3


def test_a_global_limit_is_kept_by_the_rate(clock, monkeypatch, tmp_path):
    channels = {GENERAL: chatter(3000, at(2024, 1), 60_000)}
    with serve(monkeypatch, clock, channels, bucket_limit=10**6, global_limit=5) as server:
        Runs(tmp_path).run(config(requests_per_second=5))
        assert server.refused == []


def test_refusals_stop_at_once_and_say_what_to_do(discord, tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"Unknown Channel, code 10003\); correct its id"):
        config(channels=("900000000000000000",)).look(tmp_path)
    discord.hidden.add(GENERAL)
    look = config(channels=(GENERAL, OTHER)).look(tmp_path)
    assert [item.native_id for item in look.items] == [f"{OTHER}/2024-05"]
    [problem] = look.problems
    assert (problem.what, problem.where) == ("refused", f"channel {GENERAL}")
    assert "View Channel and Read Message History" in problem.why
    assert discord.refused == [404, 403], "one request each"
    discord.hidden.clear()
    source = config()
    items = assign(None, source.look(tmp_path), 10**9, "1")[1][0].items
    discord.hidden.add(GENERAL)
    with pytest.raises(SourceError, match=f"Channel {GENERAL}: the bot may not read it"):
        source.fetch(items, tmp_path, tmp_path, tmp_path)
    assert discord.refused == [404, 403, 403]
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN[:-1] + "A")
    with pytest.raises(SourceError, match=r"does not accept the token \(401: Unauthorized\)"):
        config(channels=(GENERAL, OTHER)).look(tmp_path)
    assert discord.refused == [404, 403, 403, 401]


@pytest.mark.parametrize("status", [200, 403, 429])
def test_a_block_page_is_recognised(discord, tmp_path, status):
    discord.fail(status, b"<html>error 1015</html>", {"Content-Type": "text/html", "Retry-After": "600"})
    with pytest.raises(BlockedError, match=r"blocks this machine's address.*after 600 s"):
        config().look(tmp_path)
    assert len(discord.requests) == 1


@pytest.mark.parametrize("body", [b"", b"[1, 2", b"{}", b"[1, 2, 3]", b'"text"', b"[" * 100_000])
def test_answers_that_make_no_sense_are_errors(discord, tmp_path, body):
    discord.fail(200, {"id": GENERAL, "last_message_id": "1"})
    discord.fail(200, body)
    with pytest.raises(SourceError):
        config().look(tmp_path)


def test_passing_failures_pass(discord, tmp_path):
    discord.fail(500, b"")
    discord.fail(503, b"busy", {"Retry-After": "3"})
    assert len(config().look(tmp_path).items) == 3


def test_it_is_off_until_permission_is_confirmed(discord, tmp_path):
    source = DiscordApiConfig(channels=(GENERAL,))
    for use in (lambda: source.look(tmp_path), lambda: source.fetch([], tmp_path, tmp_path, tmp_path)):
        with pytest.raises(SourceError, match=r"i_have_permission.*developer policy.*owner.*members"):
            use()
    with pytest.raises(SourceError, match="needs `channels`"):
        config(channels=()).look(tmp_path)
    assert discord.requests == []


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("mfa." + "a" * 84, "token of a user account"),
        ("Bearer abcdef", "token of a user account"),
        ("not-a-token", "11 characters"),
        ("notanumbernotanumber.Gabcde." + "Zx9_-" * 8, "no bot token"),
    ],
)
def test_tokens_of_users_and_nonsense_are_refused_before_anything_is_sent(discord, tmp_path, monkeypatch, token, said):
    monkeypatch.setenv("DISCORD_BOT_TOKEN", token)
    with pytest.raises(SourceError, match=said) as refused:
        config().look(tmp_path)
    assert token not in str(refused.value)
    assert discord.requests == []
    monkeypatch.delenv("DISCORD_BOT_TOKEN")
    with pytest.raises(SourceError, match="secret DISCORD_BOT_TOKEN is not set"):
        config().look(tmp_path)


def test_a_token_in_the_settings_is_refused_without_showing_it():
    values = {"kind": "discord-api", "channels": [GENERAL], "token": TOKEN}
    with pytest.raises(ValidationError, match="name of a secret") as refused:
        TypeAdapter(AnySource).validate_python(values | {})
    assert TOKEN not in f"{refused.value} {refused.value.errors()}"
    with pytest.raises(RecipeError, match="name of a secret") as said:
        read_recipe({"sources": {"chat": values}}, "a recipe")
    assert TOKEN not in str(said.value)


def test_channels_are_texts():
    for wrong in (800000000000000002, "8", "general", None):
        with pytest.raises(ValidationError):
            DiscordApiConfig(channels=(wrong,))


def test_the_token_is_nowhere(discord, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    said = []
    runs = Runs(tmp_path)
    source = config(channels=(GENERAL, OTHER))
    runs.run(source)
    runs.read(source, said)
    said += [
        source.model_dump_json(),
        repr(source),
        source.identity(),
        source.reading_identity(),
        runs.memo,
        runs.ledger,
    ]
    for status, body, headers in (
        (401, {"message": "401: Unauthorized"}, {}),
        (403, {"message": "Missing Access"}, {}),
        (400, {"message": "Bad"}, {}),
        (200, b"<html>", {}),
        (429, b"<html>", {"Content-Type": "text/html"}),
    ):
        discord.fail(status, body, headers)
        with pytest.raises(SourceError) as error:
            config(channels=(OTHER,)).look(tmp_path)
        said += [str(error.value), repr(error.value), repr(error.value.__cause__)]
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in files
    everything = "\n".join([*map(str, said), caplog.text, *capfd.readouterr()])
    for part in (TOKEN, TOKEN.rpartition(".")[2]):
        assert part not in everything
