"""Run after run of a source that asks servers, for tests: no wait takes time."""

import json
import threading

from data.web.pacing import Clock
from tests.source_runs import SourceRuns


class FastClock:
    """Waits take no time, and are kept in `waits`; `time` is what they add up to."""

    def __init__(self):
        self.time = 0.0
        self.waits = []
        self._lock = threading.Lock()
        self.clock = Clock(lambda: self.time, lambda: self.time, self._sleep)

    def _sleep(self, seconds):
        with self._lock:
            self.waits.append(seconds)
            self.time += seconds


class Runs(SourceRuns):
    """Runs of a source that asks servers; a test reads when it likes, with whatever settings."""

    run = SourceRuns.fetch

    def lines(self):
        """Every line of JSON that lies in the slots, in order."""
        lines = b"".join((out / "content.bin").read_bytes() for _, out in self.slots.values()).splitlines()
        return [json.loads(line) for line in lines]
