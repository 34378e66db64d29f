"""Kill -9 at any moment of any stage, then the same command again: it finishes, with the same payload digests as a run
that was never killed.

The kill points are drawn from the traced writes of a whole run. The runs are real ones, with Prefect, the trainer and
all; see tests/kill_harness.py.
"""

import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict

import pytest

from data.store import Store
from tests.kill_harness import (
    HOOK,
    PROJECT,
    STAGES,
    Kill,
    damages,
    payloads,
    read_trace,
    recipe,
    wait_until_gone,
)
from tests.kill_runs import KILLED, check_killed, up_to

WAITING = "The trainer of an earlier run is still saving"


def earlier_trainer(root, log):
    """Stand in for a trainer that takes its time to save, until the run that prints to `log` has seen it."""
    (lock,) = (root / "work").glob("model-*/keep/.lock")
    file = lock.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)  # which the killed one may be about to let go

    def leave():
        deadline = time.monotonic() + 120
        while not (log.exists() and WAITING in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        file.close()

    threading.Thread(target=leave).start()


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(kill_runner, undisturbed, kill_folder):
    draw = random.Random(2)
    stages = draw.sample(STAGES, 4)  # all of them in the long test
    # A trainer that has lost its starter may still save a step, and then no later run does.
    points = [draw.choice([w for w in undisturbed.once(stage) if "/step-" not in w.path.replace(".partial-", "")])
              for stage in stages]  # fmt: skip
    orphaning, last_in_training = Kill(undisturbed.saves(2), "starter"), Kill(undisturbed.saves(5), "both")
    kills = {orphaning, last_in_training, *map(Kill, points)}
    root, processes, outputs = kill_folder / "killed", set(), []
    for kill in sorted(kills, key=lambda kill: undisturbed.writes.index(kill.at)):
        outcome = kill_runner.run(root, kill)
        check_killed(outcome, kill)
        assert list(Store(root).verify()) == []  # whatever is visible is whole
        processes |= outcome.processes
        outputs.append(outcome.output)
        if kill == orphaning:
            orphaned = outcome
        elif kill == last_in_training:
            earlier_trainer(root, kill_runner.next_log)
    outcome = kill_runner.run(root)
    assert outcome.code == 0, outcome.output
    assert payloads(root) == undisturbed.payloads
    assert damages(root) == []
    assert wait_until_gone(processes | outcome.processes, 10) == set()
    assert any(WAITING in output for output in outputs)
    trace = read_trace(orphaned.trace)
    later = [record["path"] for record in trace[[record["hit"] for record in trace].index(True) :]]
    assert undisturbed.saves(2).path.replace(".partial-", "") in later  # the trainer without a starter saved ...
    assert undisturbed.saves(6).path not in later  # ... and left before its end


@pytest.mark.long
def test_of_two_runs_at_once_one_is_killed_and_the_other_ends_well(kill_runner, undisturbed, kill_folder):
    root = kill_folder / "two"
    killed, other = kill_runner.run_together(root, random.Random(3).uniform(1.0, 3.0), None)
    assert (killed.code in (KILLED, 0), other.code) == (True, 0), killed.output + other.output
    assert payloads(root) == undisturbed.payloads
    assert kill_runner.run(root).code == 0  # which sweeps a lock that the killed one may have left
    assert damages(root) == []
    assert wait_until_gone(killed.processes | other.processes, 20) == set()


def test_no_command_outlives_its_starter(undisturbed, tmp_path):
    (model,) = (undisturbed.root / "model").iterdir()
    job = {"model_dir": str(model), "prompts": [[1]], "tokens": 100_000, "eot_id": 299, "out": str(tmp_path / "out")}
    (tmp_path / "JOB.json").write_text(json.dumps(job | {"runtime": {"device": "cpu", "threads": 1}}))
    reading, writing = os.pipe()
    argv = [sys.executable, "-m", "gpt.sample", str(tmp_path / "JOB.json"), "--watch-fd", str(reading)]
    process = subprocess.Popen(argv, pass_fds=(reading,))
    os.close(reading)
    os.close(writing)  # as the kernel does when the starter is killed
    assert process.wait(120) == 75
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_at_any_of_its_writes(kill_runner, undisturbed, kill_folder, stage):
    draw = random.Random(stage)
    once = undisturbed.once(stage)
    named = undisturbed.named(stage)
    points = {once[0], once[-1], named, once[once.index(named) - 1], once[once.index(named) + 1]}
    points |= set(draw.sample(once, min(len(once), 12)))
    for number, point in enumerate(sorted(points, key=once.index)):
        victim = draw.choice(["self", "starter", "both"]) if point.role != "flow" else "self"
        kill = Kill(point, victim, draw.choice([0.0, 0.0, 0.002, 0.02]))
        root = kill_folder / f"{stage}-{number}"
        up_to(undisturbed, stage, root)
        outcome = kill_runner.run(root, kill, until=stage)
        if outcome.code or not kill.delay:  # a run may end before its time has come
            check_killed(outcome, kill)
        assert list(Store(root).verify()) == []
        again = kill_runner.run(root, until=stage)
        assert again.code == 0, (kill, again.output)
        stages = STAGES[: STAGES.index(stage) + 1]
        assert payloads(root) == {k: v for k, v in undisturbed.payloads.items() if k.split("/")[0] in stages}, kill
        assert wait_until_gone(outcome.processes | again.processes, 20) == set(), kill
        assert damages(root) == [], kill
        shutil.rmtree(root)


@pytest.mark.long
def test_what_a_killed_run_leaves_is_found_by_its_own_recipe_only(kill_runner, undisturbed, kill_folder):
    """Only what can be continued stays; the next run of any other recipe sweeps the rest."""
    for stage in STAGES:
        root = kill_folder / f"left-{stage}"
        up_to(undisturbed, stage, root)
        outcome = kill_runner.run(root, Kill(undisturbed.named(stage)), until=stage)
        assert outcome.code == KILLED
        Store(root).sweep()
        left = [path.name.rpartition("-")[0] for path in (root / "work").iterdir()]
        assert left == (["model"] if stage == "model" else [])


@pytest.mark.long
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_a_disk_that_fills_up_during_a_run(kill_runner, undisturbed, kill_folder, share):
    disk = kill_folder / f"disk-{share}"
    disk.mkdir()
    blocks = sum(-(-path.stat().st_size // 4096) for path in undisturbed.root.rglob("*") if path.is_file())
    options = f"size={int(share * blocks) * 4}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        outcome = kill_runner.run(disk / "store")
        assert outcome.code == 1
        assert "the disk is full" in outcome.output or "No space left on device" in outcome.output, outcome.output
        assert list(Store(disk / "store").verify()) == []
        assert not list((disk / "store" / "work").glob("*/out"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        outcome = kill_runner.run(disk / "store")
        assert outcome.code == 0, outcome.output
        assert payloads(disk / "store") == undisturbed.payloads
        assert damages(disk / "store") == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.long
def test_the_real_command_is_killed_and_started_again(undisturbed, kill_folder, tmp_path):
    settings = [f"--set={name}={json.dumps(value)}" for name, value in recipe(kill_folder / "texts").items()]
    command = [sys.executable, "-m", "flows", "run", "python-docs", *settings, "--device=cpu", "--json"]
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {
        "PREFECT_HOME": str(tmp_path / "home"),
        "TEXTMILL_STORE": str(tmp_path / "store"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HOOK),
    }

    def run(kill=None):
        asked = asdict(kill.at) | {"victim": kill.victim, "delay": kill.delay} if kill else None
        hook = {"root": str(tmp_path / "store"), "trace": str(tmp_path / "trace"), "kill": asked}
        return subprocess.run(
            command, cwd=PROJECT, env=environment | {"TEXTMILL_KILL_HOOK": json.dumps(hook)},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    assert run(Kill(undisturbed.named("tokens"))).returncode == KILLED
    assert run(Kill(undisturbed.named("model"))).returncode == KILLED
    ended = run()
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["cached"]["tokens"]
    assert payloads(tmp_path / "store") == undisturbed.payloads
    assert damages(tmp_path / "store") == []
