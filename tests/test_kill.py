"""Kill -9 at any moment of any stage, then the same command again: it finishes, with the same payload digests as a run
that was never killed.

The kill points are drawn from the traced writes of a whole run. The runs are real ones, with Prefect, the trainer and
all; see tests/kill_harness.py.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from data.store import Store
from tests.kill_harness import (
    STAGES,
    Kill,
    Runner,
    Write,
    damages,
    payloads,
    read_trace,
    wait_until_gone,
    write_texts,
)

KILLED = -signal.SIGKILL


class Undisturbed:
    """A run that nobody killed: what it wrote, in order, and what came of it."""

    def __init__(self, runner: Runner, root: Path) -> None:
        outcome = runner.run(root)
        assert outcome.code == 0, outcome.output
        self.root, self.writes, self.payloads = root, outcome.writes, payloads(root)

    def once(self, stage: str) -> list[Write]:
        """The writes of a stage that come once in the life of their process, and so in any later run, too."""
        return [write for write in self.writes if write.stage == stage and write.nth == 1]

    def named(self, stage: str) -> Write:
        """The rename that publishes the last artifact of a stage."""
        return [w for w in self.once(stage) if w.event == "os.rename" and w.path.startswith(f"{stage}/")][-1]

    def saves(self, step: int) -> Write:
        """The trainer's first write of its checkpoint of a step."""
        name = f".partial-step-{step:09d}"
        return next(w for w in self.once("model") if w.event == "os.mkdir" and w.path.endswith(f"/{name}"))


def start_server(home: Path, port: int) -> subprocess.Popen[bytes]:
    """A Prefect server without the background services that nothing here needs."""
    quiet = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    argv = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--log-level", "ERROR"]
    log = home.with_suffix(".log").open("wb")
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | quiet
    return subprocess.Popen([*argv, "--port", str(port)], env=environment, stdout=log, stderr=log)


def wait_for_server(api: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 150
    while True:
        try:
            urllib.request.urlopen(f"{api}/health", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kill")


@pytest.fixture(scope="module")
def runner(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    server = start_server(folder / "home", port)
    write_texts(folder / "texts")
    try:
        with Runner(folder / "runs", folder / "texts", api) as runner:  # imports while the server starts
            wait_for_server(api, server)
            yield runner
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def undisturbed(runner, folder):
    return Undisturbed(runner, folder / "undisturbed")


def check_killed(outcome, kill):
    """The kill came about, and ended the run as such a kill ends a run."""
    assert outcome.hit, outcome.output
    of_the_run = kill.at.role == "flow" or kill.victim != "self"
    assert outcome.code == (KILLED if of_the_run else 1), outcome.output


def test_a_run_that_is_killed_in_every_stage_ends_as_one_that_never_was(runner, undisturbed, folder):
    draw = random.Random(2)
    points = [draw.choice(undisturbed.once(stage)) for stage in STAGES]
    orphaning = Kill(undisturbed.saves(2), "starter")
    kills = {orphaning, Kill(undisturbed.saves(5), "both"), *map(Kill, points)}
    root, processes = folder / "killed", set()
    for kill in sorted(kills, key=lambda kill: undisturbed.writes.index(kill.at)):
        outcome = runner.run(root, kill)
        check_killed(outcome, kill)
        assert list(Store(root).verify()) == []  # whatever is visible is whole
        processes |= outcome.processes
        if kill is orphaning:
            orphaned = outcome
    outcome = runner.run(root)
    assert outcome.code == 0, outcome.output
    assert payloads(root) == undisturbed.payloads
    assert damages(root) == []
    assert wait_until_gone(processes | outcome.processes, 10) == set()
    trace = read_trace(orphaned.trace)
    later = [record["path"] for record in trace[[record["hit"] for record in trace].index(True) :]]
    assert undisturbed.saves(2).path.replace(".partial-", "") in later  # the trainer without a starter saved ...
    assert undisturbed.saves(6).path not in later  # ... and left before its end
