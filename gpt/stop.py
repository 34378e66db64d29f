"""Requests to stop: SIGTERM, SIGINT, or the end of a pipe that the starter holds open.

A training run asks between steps and then saves; nothing is interrupted in its middle. Commands that have nothing to
save simply `leave_with` their starter. Imports no torch, so that a request
that comes while torch is being loaded is heard as well.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from gpt.errors import GPTError

PARENT_SECONDS = 0.5  # between two looks at the parent


class Stop:
    """Remembers the first request to stop."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._orphaned = threading.Event()

    def listen_to_signals(self) -> None:
        """From now on SIGTERM and SIGINT are requests; only the main thread may call this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def watch(self, descriptor: int) -> None:
        """Watch a pipe's reading end: its end means that the starter is gone."""
        _when_ended(descriptor, self._on_end)

    def watch_parent(self) -> None:
        """Watch the process that has started this one: its end is a request as well."""
        parent = os.getppid()

        def wait() -> None:
            while os.getppid() == parent:
                time.sleep(PARENT_SECONDS)
            self._on_end()
            self._orphaned.set()

        threading.Thread(target=wait, daemon=True).start()

    def leave_after_parent(self, seconds: float, code: int) -> None:
        """End this process, with an exit code, so long after the parent that is watched, whatever it does then."""

        def wait() -> None:
            self._orphaned.wait()
            time.sleep(seconds)
            os._exit(code)

        threading.Thread(target=wait, daemon=True).start()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name

    def _on_end(self) -> None:
        self.reason = self.reason or "the starting process is gone"


def leave_with(descriptor: int, code: int) -> None:
    """End this process at once, with an exit code, when a pipe ends: nobody waits for its result any more."""
    _when_ended(descriptor, lambda: os._exit(code))


def _when_ended(descriptor: int, act: Callable[[], None]) -> None:
    """Call `act` in a thread at the end of a pipe. Raises GPTError when the descriptor is none."""
    try:
        os.fstat(descriptor)
    except OSError:
        raise GPTError(f"--watch-fd is {descriptor}, but no such file is open: pass a pipe on.") from None

    def read_to_end() -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass  # a pipe that cannot be read any more has ended, too
        act()

    threading.Thread(target=read_to_end, daemon=True).start()
