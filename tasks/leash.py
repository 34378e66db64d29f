"""Processes of a pool that leave with the run that they belong to, however that ends.

Each watches a pipe whose other end the run alone holds. When that is closed, which the kernel does when the run is
killed, the units that are being built are told (see data/ending.py); a process that has not left after `GRACE` seconds
ends as if it were killed, and so loses nothing: what it keeps is found again by key.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

from data import ending

GRACE = 2.0  # seconds
LEFT = 75  # the exit code of a process that was not asked twice


class Leash:
    """The run's end. `holder` goes to each process as it is started."""

    def __init__(self) -> None:
        self.holder, self._held = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def let_go(self) -> None:
        """Have the processes leave; what they build is left as it is."""
        self._held.close()
        self.holder.close()


def hold(holder: "Connection[None, None]") -> None:
    """In a process of the pool, at its start: an interrupt from the keyboard is for the run, which lets go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_when_let_go, args=(holder,), daemon=True).start()


def _leave_when_let_go(holder: "Connection[None, None]") -> None:
    with contextlib.suppress(EOFError, OSError):
        holder.recv_bytes()
    ending.begin()
    time.sleep(GRACE)
    os._exit(LEFT)
