"""A Discord of toy channels for the tests of the discord-api source: a token, two channels, and time that flies."""

import base64
from contextlib import contextmanager
from datetime import UTC, datetime

from data.sources import discord_api
from data.sources.chats import rest as discord_rest
from data.sources.discord_api import DiscordApiConfig
from data.web.pacing import Pacer
from tests.remote_runs import FastClock
from tests.stand_in_discord import DiscordServer, message

GENERAL, OTHER = "800000000000000002", "800000000000000003"
TOKEN = base64.urlsafe_b64encode(b"800000000000000009").decode() + ".Gabcde." + "Zx9_-" * 8
DAY = 86_400_000  # milliseconds


def at(year, month, day=1, hour=12):
    """A time in milliseconds since the epoch."""
    return round(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


def chatter(count, begin, step, author="300000000000000001"):
    """So many messages, one every `step` milliseconds."""
    return [message(begin + number * step, f"message {number}", author) for number in range(count)]


def fast_clock(monkeypatch):
    """A clock for all that waits, and the secrets that the source asks for."""
    fast = FastClock()
    monkeypatch.setattr(discord_api, "PACER", Pacer(fast.clock))
    monkeypatch.setattr(discord_rest, "LIMITS", discord_rest.Limits(fast.clock))
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "a secret for tests only")
    return fast


@contextmanager
def serve(monkeypatch, clock, channels, **limits):
    """A server with these channels, to which the source goes."""
    with DiscordServer(TOKEN, channels, lambda: clock.time, **limits) as server:
        monkeypatch.setattr(discord_rest, "API", server.api)
        yield server


def two_channels():
    """Messages of three months, 471 in all, and a second channel with three messages."""
    general = [*chatter(350, at(2024, 1), 60_000), *chatter(120, at(2024, 3), 60_000), message(at(2024, 5), "May")]
    return {GENERAL: general, OTHER: chatter(3, at(2024, 5, 2), 1000)}


def config(**settings):
    """The source with permission given, on the first channel."""
    given = {"channels": (GENERAL,), "i_have_permission": True, "requests_per_second": 50}
    return DiscordApiConfig(**{**given, **settings})
