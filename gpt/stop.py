"""Requests to stop: SIGTERM, SIGINT, or the end of a pipe that the starter holds open.

The run asks between steps and then saves; nothing is interrupted in its middle. Imports no torch, so that a request
that comes while torch is being loaded is heard as well.
"""

import os
import signal
import threading
from types import FrameType

from gpt.errors import GPTError


class Stop:
    """Remembers the first request to stop."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def listen_to_signals(self) -> None:
        """From now on SIGTERM and SIGINT are requests; only the main thread may call this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def watch(self, descriptor: int) -> None:
        """Watch a pipe's reading end: its end means that the starter is gone."""
        try:
            os.fstat(descriptor)
        except OSError:
            raise GPTError(f"--watch-fd is {descriptor}, but no such file is open: pass a pipe on.") from None
        threading.Thread(target=self._read_to_end, args=(descriptor,), daemon=True).start()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name

    def _read_to_end(self, descriptor: int) -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass  # a pipe that cannot be read any more has ended, too
        self.reason = self.reason or "the starting process is gone"
