"""Crashed runs start again by themselves: server and worker as processes of their own, killed in earnest.

Each death takes its minutes, because the server waits before it calls a run dead; so all of this is for the long test.
"""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from data.store import Store
from tests.kill_harness import damages, payloads
from tests.prefect_servers import environment_of, free_port, prefect
from tests.test_prefect_server import TINY, Textmill

pytestmark = pytest.mark.long
STEPS = 1500  # of a training that is still going on when its end comes


class Apart(Textmill):
    """Server and worker that do not depend on each other, as on several machines, and may be started again."""

    def __init__(self, folder):
        self.folder, self.port, self.log = folder, free_port(), folder / "log"
        self.environment = environment_of(folder / "prefect") | {
            "TEXTMILL_STORE": str(folder / "store"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        texts = folder / "texts"
        texts.mkdir()
        for number in range(12):
            lines = (f"Letter {number}, line {line}: the {line * number % 97}th word of many." for line in range(40))
            (texts / f"{number:02d}.txt").write_text("\n".join(lines))
        self.overrides = TINY | {
            "sources": {"letters": {"kind": "folder", "path": str(texts)}},
            "training.steps": STEPS,
            "training.guard": False,
        }
        self.start_server()
        subprocess.run([sys.executable, "-m", "flows.deploy", "local"], env=self.environment, check=True)
        self.start_worker()

    def _start(self, *command):
        with self.log.open("a") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def start_server(self):
        """Returns when it answers."""
        self.server = self._start(sys.executable, "-m", "flows.server", "start", "--port", str(self.port))
        deadline = time.monotonic() + 300
        while True:
            assert self.server.poll() is None and time.monotonic() < deadline, self.log.read_text()[-3000:]
            try:
                return self.ask("health")
            except OSError:
                time.sleep(0.3)

    def start_worker(self):
        self.worker = self._start(*prefect("worker", "start", "--pool", "local"))

    def training(self, run_id, store, seconds=600):
        """The trainer's process, once it has saved."""
        deadline = time.monotonic() + seconds
        while True:
            if not list(store.glob("work/model-*/keep/checkpoints/step-*")):
                assert time.monotonic() < deadline, ("nothing trains", self.states(run_id))
                time.sleep(0.2)
                continue
            for process in psutil.process_iter(["cmdline"]):
                command = process.info["cmdline"] or []
                if "gpt.train" in command and any(str(self.folder) in part for part in command):
                    return process
            raise AssertionError("the trainer is gone already")

    def flow_process(self, run_id):
        """The process of a flow run."""
        family = psutil.Process(self.worker.pid).children(recursive=True)
        return next(
            p for p in family if p.environ().get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run_id.replace("-", "")
        )

    def states(self, run_id):
        """Names of the states that a run went through."""
        return [state["name"] for state in self.ask(f"flow_run_states/?flow_run_id={run_id}")]

    def wait_for(self, run_id, state, seconds=600):
        deadline = time.monotonic() + seconds
        while (now := self.ask(f"flow_runs/{run_id}"))["state_name"] != state:
            assert now["state_type"] != "FAILED" and time.monotonic() < deadline, (now["state"], self.states(run_id))
            time.sleep(1)

    def stop(self):
        for process in (self.worker, self.server):
            process.send_signal(signal.SIGINT)
        for process in (self.worker, self.server):
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def apart(tmp_path_factory, prefect_home):
    folder = tmp_path_factory.mktemp("apart")
    prefect_home(folder / "prefect")
    textmill = Apart(folder)
    yield textmill
    textmill.stop()


@pytest.fixture(scope="module")
def undisturbed(apart):
    """Payloads of a run that nobody killed, in a store of its own."""
    run_id = apart.start(until="evaluation", runtime={"store": str(apart.folder / "undisturbed")})
    apart.wait_for(run_id, "Completed")
    return payloads(apart.folder / "undisturbed")


def kill(*processes):
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)


VICTIMS = ["flow process", "flow process and worker", "worker", "server", "trainer"]


@pytest.mark.parametrize("victim", VICTIMS)
def test_whoever_is_killed_the_run_ends_as_if_nobody_had_been(apart, undisturbed, victim):
    store = apart.folder / victim.replace(" ", "-")
    run_id = apart.start(until="evaluation", runtime={"store": str(store), "checkpoint_seconds": 1.0})
    trainer = apart.training(run_id, store)
    time.sleep(random.Random(victim).uniform(0.0, 4.0))
    flow = apart.flow_process(run_id)
    if victim == "trainer":  # nobody knows why, so nobody starts it again: the run says how to go on
        kill(trainer)
        assert apart.seen(run_id).state == "Failed"
        assert any("run the same command to go on from its checkpoint" in line for line in apart.logs(run_id))
        run_id = apart.start(until="evaluation", runtime={"store": str(store)})
    elif victim == "server":
        kill(apart.server)
        apart.server.wait()
        time.sleep(3)
        apart.start_server()
    else:
        kill(*([flow] if "flow" in victim else []), *([apart.worker] if "worker" in victim else []))
        if "worker" in victim:
            apart.worker.wait()
            apart.start_worker()
    if victim.startswith("flow"):
        _, alive = psutil.wait_procs([trainer, flow], 60)
        assert alive == [], "a trainer without a starter saves and leaves"
    apart.wait_for(run_id, "Completed")
    if victim.startswith("flow"):
        assert apart.ask(f"flow_runs/{run_id}")["run_count"] == 2
        assert any("Going on from step" in line for line in apart.logs(run_id))
    assert payloads(store) == undisturbed
    assert damages(store) == [] and list(Store(store).verify()) == []
    assert psutil.wait_procs([trainer, flow], 60)[1] == []
