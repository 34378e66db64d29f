"""Discord's REST API as a bot may use it: messages of channels, within every limit that its answers name.

Limits hold per bucket (what `X-RateLimit-Bucket` says, for each channel on its own) and for the bot as a whole. Tokens
of user accounts are refused before anything is sent: automating an account breaks Discord's terms. A token goes into
one header of requests to Discord, and nowhere else. What messages mean, and which are wanted, is not known here.
"""

import base64
import binascii
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from data.sources.base import SourceError
from data.sources.secrets import secret
from data.web.client import Web
from data.web.errors import Answer, NotThereError, RefusedError, WebError
from data.web.pacing import Clock

API = "https://discord.com/api/v10"
PAGE = 100  # messages in one answer, at most
GLOBAL_REQUESTS_PER_SECOND = 50  # of one bot, whatever it asks for
ROUNDING = 0.001  # seconds; waits are told in so many digits, so a bucket may open this much later than told
_PARTS = re.compile(r"([\w-]{18,})\.([\w-]{5,})\.([\w-]{20,})", re.ASCII)


class DiscordError(SourceError):
    """What Discord refuses for the whole source."""


class ChannelError(DiscordError):
    """A channel that this bot cannot read, or that is not there; `why` says which, without the channel."""

    def __init__(self, channel: str, why: str) -> None:
        super().__init__(f"Channel {channel}: {why}.")
        self.why = why


class BlockedError(DiscordError):
    """Discord shuts this machine's address out, whoever asks from it."""


def looks_like_a_token(text: str) -> bool:
    """Whether a text has the shape of a token, so that it must not be shown."""
    return bool(_PARTS.search(text)) or text.startswith("mfa.")


def bot_token(name: str) -> str:
    """The secret called `name`, if it can be a bot's token. Raises SourceError, which never shows it."""
    token = secret(name).removeprefix("Bot ").strip()
    parts = _PARTS.fullmatch(token)
    if token.startswith("mfa.") or token.lower().startswith("bearer "):
        raise SourceError(
            f"The secret {name} is the token of a user account. Only bots may be automated: make one at "
            "discord.com/developers and use its token."
        )
    if parts is None or not _is_an_id(parts[1]):
        raise SourceError(
            f"The secret {name} is no bot token: that is three parts with points between them, {len(token)} characters "
            "are there. Copy it from the page Bot of your application at discord.com/developers."
        )
    return token


def _is_an_id(part: str) -> bool:
    """Whether the first part of a token is the account's id, as it must be."""
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).isdigit()
    except (ValueError, binascii.Error):
        return False


class Limits:
    """What buckets allow, over all threads of this process. One request of a channel and kind at a time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._turns: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)
        self._buckets: dict[str, str] = {}  # by route
        self._until: dict[tuple[str, str], float] = {}  # by bucket and channel, in the clock's seconds

    @contextmanager
    def turn(self, route: str, channel: str) -> Iterator[None]:
        """Wait until nobody else asks for this, and until its bucket has something left."""
        with self._lock:
            turn = self._turns[route, channel]
        with turn:
            while True:
                with self._lock:
                    until = self._until.get((self._buckets.get(route, route), channel), 0.0)
                wait = until - self._clock.now()
                if wait <= 0:
                    break
                self._clock.sleep(wait)
            yield

    def heard(self, route: str, channel: str, headers: Mapping[str, str]) -> None:
        """Take to heart what an answer says of its bucket."""
        with self._lock:
            bucket = self._buckets[route] = headers.get("x-ratelimit-bucket", self._buckets.get(route, route))
            if headers.get("x-ratelimit-remaining") == "0":
                wait = seconds(headers.get("x-ratelimit-reset-after")) + ROUNDING
                self._until[bucket, channel] = self._clock.now() + wait


LIMITS = Limits()


class Discord:
    """A bot's view of its channels. Threads may share it.

    token_name  of the secret, for errors
    """

    def __init__(self, web: Web, token: str, token_name: str) -> None:
        self._web = web
        self._headers = {"Authorization": f"Bot {token}", "Accept": "application/json"}
        self._token_name = token_name

    def channel(self, channel: str) -> dict[str, Any]:
        """What Discord says of a channel: its guild, name, and last message. Raises ChannelError, DiscordError."""
        answer = self._get("channel", channel, f"{API}/channels/{channel}", {})
        if not isinstance(answer, dict):
            raise DiscordError(f"{API}: channel {channel}: an object was expected, a {type(answer).__name__} came.")
        return answer

    def messages(self, channel: str, **where: int) -> list[dict[str, Any]]:
        """Up to 100 messages, oldest first; those that are no objects or have no id are left out.

        where  before=ID: the last ones before it; after=ID: the first ones after it; nothing: the newest
        """
        params = {"limit": str(PAGE), **{name: str(value) for name, value in where.items()}}
        answer = self._get("messages", channel, f"{API}/channels/{channel}/messages", params)
        if not isinstance(answer, list):
            raise DiscordError(f"{API}: channel {channel}: a list was expected, a {type(answer).__name__} came.")
        messages = [one for one in answer if isinstance(one, dict) and message_id(one)]
        if answer and not messages:
            raise DiscordError(f"{API}: channel {channel}: none of {len(answer)} messages has an id.")
        return sorted(messages, key=message_id)

    def _get(self, route: str, channel: str, url: str, params: dict[str, str]) -> Any:
        with LIMITS.turn(route, channel):
            try:
                answer = self._web.get(url, self._headers, params)
            except (RefusedError, NotThereError) as error:
                raise self._refused(error, channel) from error
            LIMITS.heard(route, channel, answer.headers)
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise _blocked(answer, url) from error

    def _refused(self, error: WebError, channel: str) -> SourceError:
        answer = error.answer or Answer(error.status or 0)
        if is_page(answer):
            return _blocked(answer, error.url)
        said = said_by(answer)
        if answer.status == 401:
            return DiscordError(
                f"Discord does not accept the token ({said}). The secret {self._token_name} must hold a bot's token; "
                "make a new one on the page Bot of your application, and keep it to yourself."
            )
        if answer.status == 403:
            return ChannelError(
                channel,
                f"the bot may not read it ({said}); give it View Channel and Read Message History, or take the channel "
                "out of the settings",
            )
        if answer.status == 404:
            return ChannelError(
                channel, f"there is no such channel ({said}); correct its id, or take it out of the settings"
            )
        return DiscordError(f"{error} Discord says: {said}.")


def pause(answer: Answer) -> float:
    """Seconds to leave Discord alone after an answer, for `Web`: what a 429 asks in its body, more exactly than in its
    headers. Raises BlockedError for the page of a block, which no bot should knock at again.
    """
    if answer.status == 429:
        if is_page(answer):
            raise _blocked(answer, API)
        told = _value(answer).get("retry_after"), answer.headers.get("x-ratelimit-reset-after")
        return max(map(seconds, told)) + ROUNDING
    return 0.0


def is_page(answer: Answer) -> bool:
    """Whether an answer is a page of HTML, which Discord's API never gives: it comes from the wall before it."""
    return "html" in answer.headers.get("content-type", "") or answer.body.lstrip()[:1] == b"<"


def said_by(answer: Answer) -> str:
    """Discord's own words for an error."""
    value = _value(answer)
    code = value.get("code")
    return f"{value.get('message') or answer.status}" + (f", code {code}" if code else "")


def message_id(message: Mapping[str, Any]) -> int:
    """The id of a message as a number, 0 if it has none."""
    text = message.get("id")
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 20 else 0


def seconds(value: Any) -> float:
    """A number of seconds as Discord writes it, 0 for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if 0 <= number < 1e9 else 0.0


def _value(answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _blocked(answer: Answer, url: str) -> SourceError:
    if not is_page(answer):
        return DiscordError(f"{url} answers {answer.status} with something that is no JSON. Run again later.")
    wait = seconds(answer.headers.get("retry-after"))
    return BlockedError(
        f"Discord blocks this machine's address: it answers {answer.status} with a page of HTML, as it does after too "
        f"many refused requests. Stop whatever else asks from here, and run again "
        + (f"after {wait:.0f} s." if wait else "in an hour.")
    )
