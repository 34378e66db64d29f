"""When a request may be made: so many a second and so many at once to one host, over all threads of this process.

Also what a server says of waiting, and how long to wait when it says nothing. Knows nothing of connections.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from data import ending

BACK_OFF_SECONDS = 1.0  # before the second try; doubled for each further one
BACK_OFF_CAP = 60.0


@dataclass(frozen=True)
class Clock:
    """Time, to be replaced in tests. `now` only goes forward, `wall` counts from the epoch; both in seconds.

    `sleep` ends with EndingError when the run is being ended.
    """

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = ending.sleep


@dataclass
class _Host:
    """`next_start` is when the next request may begin; before `held_until` none may, also not one that has a place."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    active: int = 0
    next_start: float = 0.0
    held_until: float = 0.0


class Pacer:
    """Gives out places for requests, by host. One for the whole process (`PACER`), unless a test wants its own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def place(self, host: str, requests_per_second: float, parallel: int) -> Iterator[None]:
        """Wait for one of `parallel` places at a host, and until the rate allows a request; hold the place meanwhile.

        Each caller's limits count all requests of this process to the host, whoever makes them.
        """
        state = self._host(host)
        with state.changed:
            while state.active >= parallel:
                state.changed.wait()
            state.active += 1
            start = max(self.clock.now(), state.next_start)
            state.next_start = start + 1 / requests_per_second
        try:
            while (wait := max(start, state.held_until) - self.clock.now()) > 0:
                self.clock.sleep(wait)
            yield
        finally:
            with state.changed:
                state.active -= 1
                state.changed.notify_all()

    def hold(self, host: str, seconds: float) -> None:
        """Let no request to a host begin for so long."""
        state = self._host(host)
        with state.changed:
            state.held_until = max(state.held_until, self.clock.now() + seconds)

    def _host(self, host: str) -> _Host:
        with self._lock:
            return self._hosts.setdefault(host, _Host())


PACER = Pacer()


def retry_after(headers: Mapping[str, str], clock: Clock) -> float:
    """Seconds to wait by the header Retry-After, which has seconds or a date; 0 when it is missing or unreadable.

    A date is compared with the server's own, if it tells one, so that a clock that is wrong does no harm.
    """
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdecimal() and value.isascii():
        return float(value)
    asked = _seconds(value)
    if asked is None:
        return 0.0
    now = _seconds(headers.get("date", ""))
    return max(0.0, asked - (clock.wall() if now is None else now))


def _seconds(date: str) -> float | None:
    """An HTTP date in seconds since the epoch."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def back_off(failures: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row, from 1; between half of a capped power of two and all of it."""
    return float(min(BACK_OFF_CAP, BACK_OFF_SECONDS * 2 ** min(failures - 1, 32)) * (0.5 + chance() / 2))
