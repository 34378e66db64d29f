"""A retraining that is started again after its decision, a look that finds nothing, and a champion that is damaged."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from data.errors import TextmillError
from data.facts import Facts
from data.store import Store
from flows.glance import glance_at, idle
from flows.recipe import read_recipe
from tasks.champions import read_champions, write_champions
from tasks.looking import look_at, look_once
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import Runtime

ROOT = Path(__file__).parents[1]


class Decided:
    """A folder of texts, and a store whose registry has seen them and has a toy for a champion."""

    def __init__(self, folder, decided_by=""):
        texts, self.store = folder / "texts", Store(folder / "store")
        texts.mkdir()
        (texts / "one.txt").write_text("A text.")
        values = {"name": "toy", "sources": {"toy": {"kind": "folder", "path": str(texts)}}}
        self.recipe, self.runtime = read_recipe(values, "a test"), Runtime(store=str(folder / "store"))
        self.model = self.store.build(identity("model", {}, {}), "toy", self._make)
        before = read_champions(self.store.refs, "toy").promoted(self.model, ("first",), run=decided_by)
        write_champions(self.store.refs, before.having_seen(self.glance().seen))

    def _make(self, build):
        (build.out / "model.safetensors").write_bytes(b"weights")
        return Facts()

    def glance(self):
        def look(run, sources):
            return look_at(run, sources, partial(look_once, tell=print))

        return glance_at(Run("toy", self.runtime), self.recipe, look)


def test_a_look_that_finds_nothing_imports_no_prefect(tmp_path):
    decided = Decided(tmp_path)
    values = decided.recipe.model_dump_json(), decided.runtime.model_dump_json()
    program = f"""
import json, sys
from flows.glance import idle
from flows.recipe import read_recipe
from tasks.runtime import Runtime
summary = idle(read_recipe(json.loads({values[0]!r}), "a test"), Runtime(**json.loads({values[1]!r})), print)
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("prefect", "torch"))
print(json.dumps([summary["outcome"], loaded[:3]]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == ["nothing_new", []]


def test_a_damaged_champion_is_not_replaced_uncompared(tmp_path):
    decided = Decided(tmp_path)
    file = decided.store.path(decided.model) / "model.safetensors"
    file.unlink()
    with pytest.raises(
        TextmillError, match=r"the champion of toy, is damaged \(.*model.safetensors cannot be read.*\)"
    ):
        idle(decided.recipe, decided.runtime, print)
    file.write_bytes(b"weig")
    with pytest.raises(TextmillError, match=r"is damaged \(.*model.safetensors.*or delete .*: then the next model"):
        decided.glance()
    decided.store.remove(decided.model)
    glance = decided.glance()
    assert glance.champion is None and glance.news == [f"the champion {decided.model} is gone from the store"]


@pytest.mark.usefixtures("flow_server")
def test_a_run_that_is_started_again_after_its_decision_only_tells_of_it(tmp_path, monkeypatch):
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows import retrain as retraining

    told = []
    monkeypatch.setattr(retraining, "tell", lambda event, recipe, **payload: told.append((event, payload["model"])))
    monkeypatch.setattr(retraining, "publish_decision_card", lambda run, champions: told.append("card"))
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(retraining.retrain)
    decided = Decided(tmp_path, decided_by=str(flow_run.id))
    parameters = {"recipe": decided.recipe, "runtime": decided.runtime, "again": True}
    summary = run_flow(retraining.retrain, flow_run=flow_run, parameters=parameters)
    assert (summary["outcome"], summary["decision"]) == ("promoted", 1)
    assert summary["champion"] == str(decided.model)
    assert told == ["card", ("model.promoted", str(decided.model))]
    assert len(read_champions(decided.store.refs, "toy").history) == 1
