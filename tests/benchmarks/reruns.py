"""Cached reruns on a running server: `python -m tests.benchmarks.reruns [--rounds N] [--slots M]`.

Server, worker and deployments are those of `textmill ui`. Each round starts three deployments one after the other, and
measures from the request to the run's end: one whose flow does nothing, a pipeline of one slot and one of many, in
which everything is cached. Seconds above the empty one of the same round count. What the server has not yet noted when
a run has ended is its backlog, which is waited for. At the end `textmill retrain` looks again and again, for nothing.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.benchmarks.table import print_table

DEPLOY = """
from prefect.client.orchestration import get_client
from tests.benchmarks.empty_flow import empty
with get_client(sync_client=True) as client:
    known = client.create_flow(empty)
    client.create_deployment(known, "empty", entrypoint="tests.benchmarks.empty_flow.empty", work_pool_name="local")
"""
TINY = {
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
    "model": {"preset": "modern", "layers": 1, "width": 16, "heads": 1, "context": 16},
    "training": {"steps": 20, "batch_size": 2},
    "split": {"passage_bytes": 400, "max_whole_bytes": 800, "min_passages": 4},
    "sampling.tokens": 8,
}
STATES = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
OPEN = ("SCHEDULED", "PENDING", "RUNNING")
QUIET = 3.0  # seconds
BUSY_ANSWERS = 100


class Server:
    """`textmill ui` in folders of its own, asked over HTTP."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{port}/api"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),  # where runs find the flow that does nothing
            "PREFECT_HOME": str(folder / "prefect"),
            "TEXTMILL_STORE": str(folder / "store"),
        }
        self.log = folder / "ui.log"
        command = [sys.executable, "-m", "flows", "ui", "--port", str(port)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        while "Textmill is up" not in self.log.read_text():
            if self.process.poll() is not None:
                raise SystemExit(self.log.read_text()[-2000:])
            time.sleep(0.5)
        self.environment["PREFECT_API_URL"] = self.api
        subprocess.run([sys.executable, "-c", DEPLOY], env=self.environment, check=True)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to a GET, or to a POST of `body`."""
        request = urllib.request.Request(f"{self.api}/{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        for _ in range(BUSY_ANSWERS):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # what it says while its database is locked; Prefect's own client waits, too
                    raise
                time.sleep(1)
        raise SystemExit(f"{path}: {BUSY_ANSWERS} times the server was too busy to answer; see {self.log}")

    def run(self, deployment: str, parameters: dict[str, Any]) -> tuple[float, float]:
        """Seconds from the request to the end of a run, and from there until the server has noted the end of its tasks:
        until it has nothing more to add to them for `QUIET` seconds, which do not count."""
        found = self.ask(f"deployments/name/{deployment}")
        started = time.perf_counter()
        run = self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]
        while (state := self.ask(f"flow_runs/{run}")["state_type"]) not in STATES:
            time.sleep(0.1)
        if state != "COMPLETED":
            raise SystemExit(f"{deployment} ended as {state}; see {self.log}")
        ended = changed = time.perf_counter()
        noted = (-1, -1)
        while time.perf_counter() - changed < QUIET or noted[1]:
            now = self.tasks_of(run), self.tasks_of(run, OPEN)
            if now != noted:
                noted, changed = now, time.perf_counter()
            time.sleep(0.1)
        return ended - started, changed - ended

    def tasks_of(self, run: str, states: tuple[str, ...] = ()) -> int:
        """How many task runs of a flow run the server knows, all or those in some states."""
        chosen: dict[str, Any] = {"flow_runs": {"id": {"any_": [run]}}}
        if states:
            chosen["task_runs"] = {"state": {"type": {"any_": states}}}
        found: int = self.ask("task_runs/count", chosen)
        return found

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


def texts(folder: Path, files: int, slot_bytes: int) -> dict[str, Any]:
    """Parameters of a pipeline over so many small files, in slots that are closed at `slot_bytes`."""
    folder.mkdir()
    for number in range(files):
        lines = (f"Letter {number}, line {line}: the {line * number % 97}th word of many." for line in range(40))
        (folder / f"{number:04d}.txt").write_text("\n".join(lines))
    source = {"kind": "folder", "path": str(folder), "slot_bytes": slot_bytes}
    return {"overrides": {**TINY, "sources": {"letters": source}}, "runtime": {"threads": 1}}


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, default=400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, many = texts(folder / "one", 12, 1_000_000), texts(folder / "many", arguments.slots, 1)
        server = Server(folder)
        try:
            cases = {"one slot": ("pipeline/folder", one), f"{arguments.slots} slots": ("pipeline/python-docs", many)}
            for deployment, parameters in cases.values():
                server.run(deployment, parameters)
            empty: list[float] = []
            above: dict[str, list[float]] = {case: [] for case in cases}
            backlog: dict[str, list[float]] = {case: [] for case in cases}
            for _ in range(arguments.rounds):
                alone = server.run("empty/empty", {})[0]
                empty.append(alone)
                for case, (deployment, parameters) in cases.items():
                    seconds, left = server.run(deployment, parameters)
                    above[case].append(seconds - alone)
                    backlog[case].append(left)
            settings = [f"--set={key}={json.dumps(value)}" for key, value in one["overrides"].items()]
            retrain = [sys.executable, "-m", "flows", "retrain", "folder", *settings, "--json"]
            subprocess.run(retrain, env=server.environment, check=True, capture_output=True)
            looks = []
            for _ in range(arguments.rounds):
                started = time.perf_counter()
                told = subprocess.run(
                    retrain, env=server.environment, check=True, capture_output=True, text=True
                ).stdout
                looks.append(time.perf_counter() - started)
                assert json.loads(told.splitlines()[-1])["outcome"] == "nothing_new", told
        finally:
            server.stop()
    goals = dict(zip(cases, (5, 15), strict=True))
    rows: list[tuple[str, list[float], str, str]] = [("a deployment that does nothing", empty, "s", "")]
    for case in cases:
        rows.append((f"cached pipeline of {case}, above it", above[case], "s", f"under {goals[case]}"))
        rows.append((f"cached pipeline of {case}: backlog", backlog[case], "s", ""))
    rows.append(("textmill retrain, nothing new", looks, "s", "under 10"))
    print_table(f"Reruns on a running server, {arguments.rounds} rounds", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
