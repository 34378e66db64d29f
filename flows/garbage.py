"""Garbage is collected in a thread of its own: else a Prefect server on SQLite stands still for a minute at times.

Python collects cycles of dead objects in whatever thread makes an object. Where one of them is a cursor, SQLite resets
its statement first, and for that waits until its connection is free; if this one waits for another connection to give
the database free, it does so for up to a minute, and nothing runs meanwhile in the thread that would do so: the
server's event loop. A thread that does nothing else may wait there.
"""

import gc
import threading
import time

PAUSE = 0.2  # seconds


def collect_aside() -> None:
    """From now on collect this process's garbage in a thread of its own, as often as Python's thresholds say."""
    gc.disable()
    threading.Thread(target=_collect_for_ever, name="garbage", daemon=True).start()


def _collect_for_ever() -> None:
    while True:
        time.sleep(PAUSE)
        for generation in (2, 1, 0):
            if gc.get_count()[generation] > gc.get_threshold()[generation]:
                gc.collect(generation)
                break
