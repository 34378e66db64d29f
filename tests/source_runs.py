"""Run after run of one source, for tests: a ledger, a memo, and the slots fetched so far."""

import json
import tempfile
from pathlib import Path

from data.ledger import assign
from data.sources.base import Problem, RawDocument


class SourceRuns:
    """What the raw stage does with a source, again and again.

    After a run: `changes` as the ledger tells them, `notes` of reading, `problems` as {(what, where): why}.
    """

    def __init__(self, config, root):
        self.config = config
        self.root = root
        self.ledger = self.memo = None
        self.slots = {}  # number -> folder

    def run(self):
        """Look, fetch and read; returns the documents by native id."""
        look = self.config.look(self.root, self.memo)
        self.memo = json.loads(json.dumps(look.memo))
        self.ledger, slots, self.changes = assign(self.ledger, look, self.config.slot_bytes, "2024", self.config.mirror)
        self.notes, found = [], []
        for slot in slots:
            out = Path(tempfile.mkdtemp(prefix="slot-", dir=self.root))
            earlier = [self.slots[slot.number]] if slot.number in self.slots else []
            self.config.fetch(slot.items, self.root, out, out, earlier=earlier)
            self.slots[slot.number] = out
            found += list(self.config.read(out, self.notes.append))
        self.problems = {(one.what, one.where): one.why for one in (*look.problems, *found) if isinstance(one, Problem)}
        documents = [one for one in found if isinstance(one, RawDocument)]
        assert len({one.native_id for one in documents}) == len(documents), "ids are unique"
        return {one.native_id: one for one in documents}


def texts(documents):
    """The texts of documents, by native id."""
    return {native_id: one.text for native_id, one in documents.items()}
