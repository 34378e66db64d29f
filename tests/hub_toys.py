"""What the tests of the hub source share: tables as bytes, a source on the stand-in hub, and its runs one by one."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.sources.huggingface import HuggingFaceConfig
from data.web.pacing import Clock, Pacer
from tests.source_runs import SourceRuns

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
ID = "people/texts"


def text(number):
    return f"Text number {number} of a table, with ümlauts and the number {number * 7919} in it."


def parquet(columns, group=10, **how):
    """A table as Parquet. `columns`: lists by name, or a list of texts."""
    columns = columns if isinstance(columns, dict) else {"text": columns}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=group, **how)
    return sink.getvalue()


def texts(start, end, group=10, **how):
    return parquet([text(number) for number in range(start, end)], group, **how)


class Waits:
    """A clock whose pauses take no time; `made` has their seconds."""

    def __init__(self):
        self.made = []
        self._now = 1000.0
        self.clock = Clock(now=lambda: self._now, sleep=self._sleep)

    def _sleep(self, seconds):
        if seconds > 0.001:  # not what keeps the pace
            self.made.append(seconds)
        self._now += seconds


def quick_waits(monkeypatch):
    """The pauses that the client makes from now on; it forgets what it knows of other tests, and has no token."""
    found = Waits()
    monkeypatch.setattr("data.sources.hub.client.PACER", Pacer(found.clock))
    monkeypatch.setattr("data.sources.hub.client.REQUESTS_PER_SECOND", 1e9)
    monkeypatch.setattr("data.sources.hub.items._footers", {})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return found.made


class Runs(SourceRuns):
    """Runs of the source on a stand-in hub, whose settings may change in between."""

    def __init__(self, hub, folder, **settings):
        super().__init__(folder)
        self.hub = hub
        self.settings = {"id": ID, "endpoint": hub.endpoint, **settings}

    @property
    def source(self):
        return HuggingFaceConfig(**self.settings)

    def run(self):
        """A run; returns everything that it reads."""
        self.hub.forget()
        self.fetch(self.source)
        self.notes = []
        return self.read(self.source, self.notes)
