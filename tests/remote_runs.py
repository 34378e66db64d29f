"""Run after run of a source that asks servers, for tests: only changed slots are fetched, no wait takes time."""

import json
import threading

from data.ledger import assign
from data.sources.base import Problem, RawDocument
from data.web.pacing import Clock


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


class Runs:
    """Look, assign and fetch as the raw stage does; slots lie in folders, the newest of each is `earlier`."""

    def __init__(self, folder):
        self.folder = folder
        self.ledger = self.memo = None
        self.slots = {}  # number -> (items, folder)
        self.runs = 0

    def run(self, source):
        """Returns what the look found and what the ledger says has changed; `facts` are of the slots fetched."""
        self.runs += 1
        look = source.look(self.folder, self.memo)
        self.memo = json.loads(json.dumps(look.memo))
        self.ledger, slots, changes = assign(self.ledger, look, source.slot_bytes, str(self.runs), source.mirror)
        self.facts = []
        for slot in slots:
            before = self.slots.get(slot.number)
            if before and before[0] == slot.items:
                continue
            out = self.folder / f"slot-{slot.number}-{self.runs}"
            work = self.folder / f"work-{slot.number}-{self.runs}"
            for folder in (out, work):
                folder.mkdir()
            earlier = (before[1],) if before else ()
            self.facts.append(source.fetch(slot.items, self.folder, out, work, earlier=earlier))
            self.slots[slot.number] = (slot.items, out)
        self.slots = {slot.number: self.slots[slot.number] for slot in slots}
        return look, changes

    def read(self, source, notes=None):
        """Everything that all slots are read as."""
        note = (notes if notes is not None else []).append
        return [found for _, out in self.slots.values() for found in source.read(out, note)]

    def lines(self):
        """Every line of JSON that lies in the slots, in order."""
        lines = b"".join((out / "content.bin").read_bytes() for _, out in self.slots.values()).splitlines()
        return [json.loads(line) for line in lines]


def texts(found):
    """The texts of what was read, by native id."""
    return {one.native_id: one.text for one in found if isinstance(one, RawDocument)}


def problems(found):
    """{(what, where)} of the problems among what was found."""
    return {(one.what, one.where) for one in found if isinstance(one, Problem)}
