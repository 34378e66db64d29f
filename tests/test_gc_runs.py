"""Cleaning up again and again while a real run goes on: it ends as one that was left alone."""

import shutil
import threading

import pytest

from data.errors import TextmillError
from data.facts import Facts
from data.housekeeping.collecting import carry_out, plan
from data.housekeeping.lineage import Lineage
from data.housekeeping.usage import ended_runs, runs_in_progress
from data.manifest import Identity
from data.store import Store
from tasks.roots import roots
from tests.kill_harness import Runner, damages, payloads, write_texts

AFTER_TOKENS = ("plan", "model", "evaluation", "samples", "report")


class Collecting(threading.Thread):
    """Cleans a store up, as sharply as it goes, from the first moment to the last."""

    def __init__(self, store):
        super().__init__()
        self.store, self.over, self.rounds, self.removed, self.seen = store, threading.Event(), 0, 0, set()
        self.errors = []

    def run(self):
        while not self.over.wait(0.05):
            lineage = Lineage(self.store)

            def now(lineage=lineage):
                return roots(self.store, lineage, keep_runs=1)

            try:
                self.removed += sum(carry_out(lineage, plan(lineage, now()), now).removed.values())
            except TextmillError as error:
                self.errors.append(error)
            self.store.sweep()
            self.rounds += 1
            self.seen |= {stage for run in runs_in_progress(self.store) for stage in run.keys}


@pytest.fixture(scope="module")
def runner(tmp_path_factory, starting_server):
    folder = tmp_path_factory.mktemp("gc")
    write_texts(folder / "texts")
    with Runner(folder / "runs", folder / "texts", starting_server.api) as runner:
        starting_server.wait()
        yield runner


@pytest.mark.long
@pytest.mark.parametrize("until", ["tokens", None])
def test_a_run_ends_as_if_nobody_had_cleaned_up_meanwhile(runner, tmp_path, until):
    first = runner.run(tmp_path / "first", until=until)
    assert first.code == 0, first.output
    undisturbed = payloads(tmp_path / "first")
    for name, nobody_knows in (("new", False), ("old", True)):
        root = tmp_path / name
        if nobody_knows:  # all is there but the end, and nothing tells what it was for
            shutil.copytree(tmp_path / "first", root)
            for part in ("tokens", *AFTER_TOKENS, "refs/runs", "refs/prepared", "refs/fetched"):
                shutil.rmtree(root / part, ignore_errors=part in AFTER_TOKENS)
        store = Store(root)
        store.build(Identity("raw", 1, {"rubbish": 1}), "rubbish", lambda build: Facts())
        collecting = Collecting(store)
        collecting.start()
        outcome = runner.run(root, until=until)
        collecting.over.set()
        collecting.join()
        assert outcome.code == 0, outcome.output
        assert payloads(root) == undisturbed, "all of it, and the rubbish is gone"
        assert damages(root) == [] and collecting.errors == []
        assert collecting.removed and collecting.rounds > 5 and {"raw", "documents", "corpus"} <= collecting.seen
        assert [(run.outcome, run.trained) for run in ended_runs(store)] == [("done", until is None)]
