"""Run after run of one source, for tests: a ledger, a memo, and the slots fetched so far."""

import json
import tempfile
from pathlib import Path

from data.ledger import assign
from data.sources.base import Problem, RawDocument


class SourceRuns:
    """What the raw stage does with a source, again and again: look, ledger, fetch, read.

    again  every run fetches every slot, as a refresh does; else those only whose items are not what they were

    After a run: `look`; `changes` as the ledger tells them; `fetched`, the ids of the items of the slots that it
    fetched, and their `facts`; `slots` as {number: (items, folder)}; `problems` of looking and reading, `notes`.
    """

    def __init__(self, root, config=None, again=False):
        self.root, self.config, self.again = root, config, again
        self.ledger = self.memo = None
        self.slots = {}

    def fetch(self, config=None):
        """Look and fetch; returns what the look found and what the ledger says has changed."""
        config = config or self.config
        self.look = config.look(self.root, self.memo)
        self.memo = json.loads(json.dumps(self.look.memo))
        ledger, slots, self.changes = assign(self.ledger, self.look, config.slot_bytes, "2024", config.mirror)
        self.ledger = json.loads(json.dumps(ledger))
        self.fetched, self.facts = [], []
        for slot in slots:
            items, before = self.slots.get(slot.number, (None, None))
            if items == slot.items and not self.again:
                continue
            out, work = (Path(tempfile.mkdtemp(prefix=name, dir=self.root)) for name in ("slot-", "work-"))
            self.facts.append(config.fetch(slot.items, self.root, out, work, earlier=[before] if before else []))
            self.fetched += [item.native_id for item in slot.items]
            self.slots[slot.number] = (slot.items, out)
        self.slots = {slot.number: self.slots[slot.number] for slot in slots}
        return self.look, self.changes

    def read(self, config=None, notes=None):
        """Everything that the slots are read as."""
        note = (notes if notes is not None else []).append
        return [one for _, out in self.slots.values() for one in (config or self.config).read(out, note)]

    def run(self, config=None):
        """Look, fetch and read; returns the documents by native id."""
        self.fetch(config)
        self.notes = []
        found = self.read(config, self.notes)
        self.problems = [one for one in (*self.look.problems, *found) if isinstance(one, Problem)]
        documents = [one for one in found if isinstance(one, RawDocument)]
        assert len({one.native_id for one in documents}) == len(documents), "ids are unique"
        return {one.native_id: one for one in documents}

    @property
    def why(self):
        """The problems as {(what, where): why}."""
        return {(one.what, one.where): one.why for one in self.problems}


def texts(found):
    """The texts of the documents among what was found, by native id."""
    found = found.values() if isinstance(found, dict) else found
    return {one.native_id: one.text for one in found if isinstance(one, RawDocument)}


def problems(found):
    """{(what, where)} of the problems among what was found."""
    return {(one.what, one.where) for one in found if isinstance(one, Problem)}
