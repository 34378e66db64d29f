"""Cleaning up: what a root goes back to stays, all else goes, and a run at the same time never notices."""

import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.facts import Facts
from data.housekeeping import claims as claiming
from data.housekeeping import collecting, usage
from data.housekeeping.claims import collection
from data.housekeeping.collecting import carry_out, plan
from data.housekeeping.lineage import Lineage
from data.housekeeping.usage import Usage, ended_runs, runs_in_progress
from data.manifest import Identity
from data.store import Store
from flows.cli import app, run_app
from tasks.champions import read_champions, write_champions
from tasks.roots import roots
from tests.store_toys import published, wait_until_ready
from tests.store_toys import start as start_toy

STAGES = ("raw", "documents", "corpus", "tokens", "model", "evaluation")
GRAPH = ("raw", "documents", "corpus", "tokens", "weights", "evaluation")  # no model, which stays without a root, too
KEPT = 2  # runs, in these tests


def publish(store, stage, number, inputs=(), name="toy"):
    def make(build):
        (build.out / "payload").write_text(f"{stage} {number}")
        return Facts()

    return store.build(Identity(stage, 1, {"number": number}), name, make, inputs)


def chain(store, number, name="toy"):
    """An artifact of every stage, each made from the one before."""
    refs = []
    for stage in STAGES:
        refs.append(publish(store, stage, number, refs[-1:], name))
    return refs


def ended_run(store, refs, recipe="toy", outcome="done", trained=True):
    used = Usage(store)
    for ref in refs:
        used.use(recipe, ref.stage, [ref.key])
    used.end(recipe, outcome, trained)


def collect(store, keep_runs=KEPT):
    lineage = Lineage(store)

    def now():
        return roots(store, lineage, keep_runs)

    return carry_out(lineage, plan(lineage, now()), now)


def keys(store):
    return {manifest.key for manifest in store.manifests()}


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch):
    """Waiting for the disk would be most of what these tests do."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@st.composite
def graphs(draw):
    """(number of the stage, places of the inputs) of each artifact, then places that each kind of root names."""
    artifacts = []
    for place in range(draw(st.integers(1, 9))):
        inputs = draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else set()
        artifacts.append((draw(st.integers(0, len(GRAPH) - 1)), sorted(inputs)))
    some = st.lists(st.integers(0, len(artifacts) - 1), max_size=2)
    return artifacts, {kind: draw(some) for kind in ("champions", "corpus", "slots", "running", "ended", "long ago")}


def reached_by(places, artifacts):
    """The slow way: again and again, until nothing is added."""
    found = set(places)
    while more := {one for place in found for one in artifacts[place][1]} - found:
        found |= more
    return found


OFTEN = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=12, **OFTEN)
@given(graph=graphs())
def test_what_a_root_reaches_stays_and_everything_else_goes(tmp_path, graph):
    check_graph(tmp_path / "store", *graph)


@pytest.mark.long
@settings(max_examples=1_000, **OFTEN)
@given(graph=graphs())
def test_what_a_root_reaches_stays_and_everything_else_goes_in_many_stores(tmp_path, graph):
    check_graph(tmp_path / "store", *graph)


def check_graph(root, artifacts, named):
    shutil.rmtree(root, ignore_errors=True)
    store = Store(root)
    refs = []
    for number, (stage, inputs) in enumerate(artifacts):
        refs.append(publish(store, GRAPH[stage], number, [refs[one] for one in inputs], "unlisted"))
    ended_run(store, [refs[one] for one in named["long ago"]])
    for number in range(KEPT - 1):  # so that it is not among the last ones
        ended_run(store, [refs[one] for one in named["ended"]] + [publish(store, "plan", number)])
    ended_run(store, [refs[one] for one in named["ended"]] + [publish(store, "plan", KEPT)])
    for one in named["champions"]:
        champions = read_champions(store.refs, "toy")
        write_champions(store.refs, champions.promoted(refs[one], ("by hand",)))
    if named["corpus"]:
        slots = [{"source": "toy", "number": 0, "ref": asdict(refs[one])} for one in named["corpus"]]
        store.refs.update("prepared/toy", lambda _: {"documents": slots, "overlap": None})
    raw = [one for one in named["slots"] if GRAPH[artifacts[one][0]] == "raw"]
    store.refs.update("fetched/someone", lambda _: {str(one): refs[one].key for one in raw})
    running = Usage(store)
    for one in named["running"]:
        running.use("another", refs[one].stage, [refs[one].key])
    kept = reached_by([*raw, *(one for kind in ("champions", "corpus", "running", "ended") for one in named[kind])],
                      artifacts)  # fmt: skip
    told = {place for place, (stage, inputs) in enumerate(artifacts)
            if GRAPH[stage] == "evaluation" and set(inputs) & set(named["champions"])}  # fmt: skip
    stay = {refs[one].key for one in reached_by(kept | told, artifacts)}
    everything = {ref.key for ref in refs}
    done = collect(store)
    assert keys(store) & everything == stay
    assert sum(done.removed.values()) == len(everything - stay)
    assert not list(store.verify())
    running.end("another", "done", trained=False)


def test_the_newest_models_stay_where_no_run_was_noted(tmp_path):
    store = Store(tmp_path)
    first, second, third = (chain(store, number) for number in range(3))
    collect(store)
    assert keys(store) == {ref.key for ref in (*second, *third)}
    ended_run(store, first[:1], trained=False)
    ended_run(store, third)
    collect(store)
    assert keys(store) == {ref.key for ref in (*second, *third)}, "one run is noted, and two are to stay"


def test_what_tells_of_a_champion_and_of_those_before_stays(tmp_path):
    store = Store(tmp_path)
    chains = [chain(store, number, f"unlisted-{number}") for number in range(4)]
    for refs in chains:
        ended_run(store, refs[:1], refs[-1].name, trained=False)
    champions = read_champions(store.refs, "toy").promoted(chains[0][4], ("first",)).promoted(chains[1][4], ("better",))
    write_champions(store.refs, champions.kept(chains[2][4], ("worse",)))
    for number in range(3):  # three runs each, so that no model stays without a reason
        for refs in chains:
            ended_run(store, [publish(store, "plan", number)], refs[-1].name)
    collect(store)
    there = keys(store)
    assert {ref.key for refs in chains[:3] for ref in refs} <= there, "model and evaluation, and what they are made of"
    assert {ref.key for ref in chains[3][1:]}.isdisjoint(there)
    write_champions(store.refs, read_champions(store.refs, "toy").rolled_back(("by hand",)))
    assert store.find("model", [read_champions(store.refs, "toy").champion.key])


def test_runs_that_used_the_same_count_as_one_and_those_without_a_model_count_apart(tmp_path):
    store = Store(tmp_path)
    first, second = chain(store, 1), chain(store, 2)
    ended_run(store, first)
    for _ in range(5):
        ended_run(store, second)
    for number in range(5):
        ended_run(store, [publish(store, "plan", number)], outcome="failed", trained=False)
    collect(store)
    assert {ref.key for ref in (*first, *second)} <= keys(store)
    assert {one.recipe.config["number"] for one in store.manifests("plan")} == {3, 4}


def test_the_record_of_runs_is_bounded(tmp_path):
    store = Store(tmp_path)
    for number in range(usage.KEPT_RUNS + 3):
        used = Usage(store)
        used.use("toy", "raw", [f"{number:016x}"])
        used.end("toy", "done", trained=number % 2 == 0)
    noted = [next(iter(run.keys["raw"])) for run in ended_runs(store)]
    assert noted == [f"{number:016x}" for number in range(usage.KEPT_RUNS + 3)], "10 of one kind and 13 of the other"
    for number in range(100, 100 + usage.KEPT_RUNS):
        used.use("toy", "raw", [f"{number:016x}"])
        used.end("toy", "done", trained=False)
    assert len(ended_runs(store)) == usage.KEPT_RUNS + 12
    assert len(list((tmp_path / "refs" / "runs" / "toy").glob("*.json"))) == 1


def test_a_killed_run_counts_as_one_of_the_last_until_others_have_come(tmp_path):
    store = Store(tmp_path)
    refs = [publish(store, "raw", number) for number in range(4)]
    log = tmp_path.with_name("log")
    log.write_text(refs[0].key)
    holder = start_toy("hold_run", tmp_path, log)
    try:
        wait_until_ready(holder)
        assert [run.process for run in runs_in_progress(store)] == [f"process {holder.pid} on {os.uname().nodename}"]
        for ref in refs[1:]:
            ended_run(store, [ref], trained=False)
        assert [run.outcome for run in ended_runs(store)] == ["done"] * 3
        collect(store)
        assert keys(store) == {refs[0].key, refs[2].key, refs[3].key}
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert runs_in_progress(store) == []
    assert [run.outcome for run in ended_runs(store)][-1] == "killed"
    collect(store)
    assert keys(store) == {refs[0].key, refs[3].key}
    ended_run(store, [refs[3]], trained=False)
    assert [run.outcome for run in ended_runs(store)] == ["done", "done", "killed", "done"]
    ended_run(store, [publish(store, "raw", 9)], trained=False)
    collect(store)
    assert refs[0].key not in keys(store)


def test_a_run_of_another_machine_is_believed_for_a_time(tmp_path, monkeypatch):
    store = Store(tmp_path)
    (ref,) = (publish(store, "raw", 0),)
    used = Usage(store)
    used.use("toy", "raw", [ref.key])
    elsewhere = {**store.refs.read("running/toy").value}
    (record,) = elsewhere.values()
    used.end("toy", "done", trained=False)
    for days, alive in ((13, True), (15, False)):
        said = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        other = {record["id"]: record | {"place": "elsewhere:/store", "said": said}}
        store.refs.update("running/toy", lambda _, other=other: other)
        assert bool(runs_in_progress(store)) is alive


def test_what_comes_into_use_while_it_is_removed_is_spared_or_waited_for(tmp_path, monkeypatch):
    store = Store(tmp_path)
    refs = [publish(store, "raw", number) for number in range(6)]
    monkeypatch.setattr(collecting, "BATCH", 2)
    late, found = Usage(store), []
    order = [one.ref for one in plan(Lineage(store), []).removed]
    asked = itertools.count()

    def begin_to_use():  # in the middle of the second batch: one that goes now, and one that would go later
        late.use("late", "raw", [order[3].key, order[5].key])
        found.append(set(store.find("raw", [order[3].key, order[5].key])))

    thread = threading.Thread(target=begin_to_use)

    def now():
        if next(asked) == 1:
            answer = roots(store, lineage, KEPT)  # read, and then the run comes
            thread.start()
            time.sleep(0.5)
            assert not found, "it waits for what is about to be removed"
            return answer
        return roots(store, lineage, KEPT)

    lineage = Lineage(store)
    done = carry_out(lineage, plan(lineage, []), now)
    thread.join()
    assert found == [{order[5].key}]
    assert (done.spared, sum(done.removed.values())) == (1, 5)
    assert keys(store) == {order[5].key} and refs
    late.end("late", "done", trained=False)


def test_a_claim_that_grows_old_is_made_anew(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for number in range(6):
        publish(store, "raw", number)
    monkeypatch.setattr(claiming.Claim, "is_fresh", property(lambda claim: next(fresh)))
    fresh = itertools.cycle([True, True, False])
    claims = []
    take = claiming.Claim.take
    monkeypatch.setattr(claiming.Claim, "take", lambda self, keys: (claims.append(len(keys)), take(self, keys)))
    lineage = Lineage(store)
    carry_out(lineage, plan(lineage, []), list)
    assert claims == [6, 4, 2] and keys(store) == set()


def test_there_is_one_collection_at_a_time_and_a_killed_one_stands_in_nobodys_way(tmp_path):
    store = Store(tmp_path)
    publish(store, "raw", 0)
    with collection(store):
        lineage = Lineage(store)
        with pytest.raises(Exception, match=rf"process {os.getpid()} .* is cleaning up in"):
            carry_out(lineage, plan(lineage, []), list)
    assert len(keys(store)) == 1
    holder = start_toy("hold_collection", tmp_path, tmp_path / "log")
    wait_until_ready(holder)
    used = Usage(store)
    thread = threading.Thread(target=used.use, args=("toy", "raw", ["a" * 16]))
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive(), "the run waits for the removal of what it wants"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    thread.join(5)
    assert not thread.is_alive()
    used.end("toy", "done", trained=False)
    lineage = Lineage(store)
    assert sum(carry_out(lineage, plan(lineage, []), list).removed.values()) == 1


def test_killed_in_the_middle_it_leaves_whole_artifacts_with_all_they_were_made_from(tmp_path):
    store = Store(tmp_path)
    for number in range(3):
        chain(store, number, f"unlisted-{number}")
    for killed_at in (0, 7):
        root = tmp_path.with_name(f"{tmp_path.name}-{killed_at}")
        shutil.copytree(tmp_path, root)
        log = tmp_path.with_name(f"{root.name}-log")
        log.write_text(str(killed_at))
        assert start_toy("collect_until_killed", root, log).wait(60) == -signal.SIGKILL
        half = Store(root)
        there = list(half.manifests())
        assert len(there) == 18 - killed_at - 1 and not list(half.verify())
        names = {str(one.ref) for one in there}
        assert all(text in names for one in there for text in one.inputs)
        lineage = Lineage(half)
        carry_out(lineage, plan(lineage, []), list)
        assert published(half) == [] and half.sweep() and not list((root / "work").iterdir())


@pytest.fixture
def run_gc(tmp_path, monkeypatch, capsys):
    """Run the command on a store below tmp_path; gives exit code, stdout and stderr."""
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path / "store"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["textmill", "gc", *arguments])
        code = run_app(app)
        return (code, *capsys.readouterr())

    return run


def test_the_command_shows_what_would_go_then_removes_it(tmp_path, run_gc):
    store = Store(tmp_path / "store")
    kept, gone = chain(store, 1), chain(store, 2, "unlisted")
    ended_run(store, kept)
    for number in range(2):
        ended_run(store, [publish(store, "plan", number, name="unlisted")], "unlisted")
    code, out, err = run_gc("--keep-runs=2", "--dry-run")
    assert (code, err) == (0, "") and len(keys(store)) == 14
    lines = [line.split(maxsplit=3) for line in out.splitlines()]
    assert ["6", "0.0", "MB", f"run of toy until {datetime.now(UTC):%Y-%m-%d}"] in [
        [*one[:3], one[3][:27]] for one in lines if len(one) == 4
    ]
    assert all(["1", "0.0", "MB", stage] in lines for stage in STAGES)
    assert ["6", "0.0", "MB", "in all"] in lines
    code, out, err = run_gc("--keep-runs=2")
    assert code == 2 and "--yes" in err and len(keys(store)) == 14
    code, out, _ = run_gc("--keep-runs=2", "--yes", "--json")
    told = json.loads(out)
    assert code == 0 and told["removed"] == dict.fromkeys(STAGES, 1)
    assert told["artifacts"] == [str(ref) for ref in reversed(gone)], "what was made last goes first"
    assert sum(told["planned"][stage]["bytes"] for stage in STAGES) == told["removed_bytes"] > 0
    assert {ref.key for ref in kept} <= keys(store) and len(keys(store)) == 8
    assert "nothing" in run_gc("--yes", "--keep-runs=2")[1]


def test_unfinished_work_goes_on_request_when_it_is_old_and_nobody_is_at_it(tmp_path, run_gc):
    root = tmp_path / "store"
    at_work = start_toy("hold_with_half_a_payload", root, tmp_path / "log")
    wait_until_ready(at_work)
    old, young = root / "work" / f"model-{'a' * 16}", root / "work" / f"model-{'b' * 16}"
    for folder in (old, young):
        (folder / "keep").mkdir(parents=True)
        (folder / "keep" / "checkpoint").write_text("half")
    for folder in (old, *(root / "work").glob("toy-*")):
        for path in (*folder.rglob("*"), folder):
            if path.is_dir() or path.is_file():
                os.utime(path, (0, time.time() - 8 * 86_400))
    try:
        assert old.exists() and "nothing" in run_gc("--yes")[1] and old.exists()
        code, out, _ = run_gc("--yes", "--work=7")
        assert code == 0 and "Cleared of unfinished work: model-aaaaaaaaaaaaaaaa\n" in out
        assert not old.exists() and young.exists() and list((root / "work").glob("toy-*/keep/half.txt"))
    finally:
        at_work.kill()
        at_work.wait()
        os.kill(int((tmp_path / "log").read_text().split()[0]), signal.SIGKILL)
