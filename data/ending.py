"""Whether this process's run is being ended: whoever works or waits beside the main thread asks here, and leaves.

A request to stop reaches the main thread of a process only; without this, the others would go on to their end, through
minutes of waiting that a server asked for.
"""

import threading

_begun = threading.Event()


class EndingError(Exception):
    """The run is being ended, so this part of it was left; nothing is wrong with it."""

    def __init__(self) -> None:
        super().__init__("left, as the run is being ended; what has been fetched is kept for the next one")


def begin() -> None:
    """From now on `check` and `sleep` raise EndingError, in all threads."""
    _begun.set()


def reset() -> None:
    """A new run begins."""
    _begun.clear()


def check() -> None:
    """Raise EndingError when the run is being ended."""
    if _begun.is_set():
        raise EndingError


def sleep(seconds: float) -> None:
    """Wait so long, or raise EndingError as soon as the run is being ended."""
    if _begun.wait(seconds):
        raise EndingError
