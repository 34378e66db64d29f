"""What the tests of the hub source share: tables as bytes, a source on the stand-in hub, and its runs one by one."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.ledger import assign
from data.sources.base import Problem, RawDocument
from data.sources.huggingface import HuggingFaceConfig
from data.web.pacing import Clock, Pacer

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


class Runs:
    """One source, run again and again the way the raw stage does: look, ledger, fetch of slots that changed, read."""

    def __init__(self, hub, folder, **settings):
        self.hub = hub
        self.folder = folder
        self.settings = {"id": ID, "endpoint": hub.endpoint, **settings}
        self.memo = self.ledger = self.look = self.changes = None
        self.slots = {}  # number -> (items, folder)
        self.fetched = []  # numbers of the slots that the last run fetched
        self.notes = []

    @property
    def source(self):
        return HuggingFaceConfig(**self.settings)

    def run(self):
        """A run; returns everything that it reads."""
        self.hub.forget()
        self.look = self.source.look(self.folder, self.memo)
        self.memo = json.loads(json.dumps(self.look.memo))
        ledger, slots, self.changes = assign(self.ledger, self.look, self.source.slot_bytes, "2024", self.source.mirror)
        self.ledger = json.loads(json.dumps(ledger))
        self.fetched = []
        held = {}
        for slot in slots:
            items, before = self.slots.get(slot.number, ((), None))
            if items == slot.items:
                held[slot.number] = (items, before)
                continue
            out = self.folder / f"slot-{slot.number}-{len(list(self.folder.iterdir()))}"
            out.mkdir()
            work = self.folder / f"work-{out.name}"
            self.facts = self.source.fetch(slot.items, self.folder, out, work, earlier=[before] if before else [])
            self.fetched.append(slot.number)
            held[slot.number] = (slot.items, out)
        self.slots = held
        return [one for number in sorted(held) for one in self.read(number)]

    def read(self, number):
        return list(self.source.read(self.slots[number][1], self.notes.append))


def by_id(found):
    return {one.native_id: one.text for one in found if isinstance(one, RawDocument)}


def problems(found):
    return [(one.what, one.where) for one in found if isinstance(one, Problem)]
