"""`python -m tasks.join --node N --nnodes M --rendezvous HOST:PORT`: this machine's part in a training of several.

The first machine runs the flow, with the same settings as `runtime`; this is for the others, which must see its store.
It waits until the first machine's trainer listens, finds the job that it announced, and starts the trainer here. Ends
with the trainer's exit code, or with 1 and one line when nothing was announced in time.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data.errors import TextmillError
from gpt.command import GENTLE_THREADS
from tasks.launch import ANNOUNCED, Launch, launch_of, refuse_apart
from tasks.runtime import Runtime, open_store

POLL = 1.0  # seconds between two looks


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tasks.join", description="Join a training of several machines.")
    parser.add_argument("--node", type=int, required=True, help="number of this machine, from 1")
    parser.add_argument("--nnodes", type=int, required=True, help="machines in all, as runtime.nnodes of the run")
    parser.add_argument("--rendezvous", required=True, help="host:port, as runtime.rendezvous of the run")
    parser.add_argument("--processes", type=int, help="processes here; left out: one per CUDA card, on the CPU 1")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--patience", type=float, default=3600.0, help="seconds to wait for the first machine")
    told = parser.parse_args(arguments)
    try:
        if not 1 <= told.node < told.nnodes:
            raise TextmillError(
                f"--node is {told.node}, but of {told.nnodes} machines the others are 1 to {told.nnodes - 1}."
            )
        launch = launch_of(
            Runtime(device=told.device, processes=told.processes, nnodes=told.nnodes, rendezvous=told.rendezvous)
        )
        store = open_store()
        refuse_apart(launch, store)
        job = wait_for_job(store.root, told.rendezvous, told.patience)
    except TextmillError as error:
        print(f"tasks.join: {error}", file=sys.stderr)
        return 1
    return start(launch, told.node, job)


def start(launch: Launch, node: int, job: Path) -> int:
    """Run the trainer on this machine; returns its exit code."""
    command = [*launch.argv("gpt.train", node), str(job)]
    print(f"Joining {job} as machine {node} of {launch.nodes}", flush=True)
    return subprocess.run(command, env=GENTLE_THREADS | launch.environment() | os.environ, check=False).returncode


def wait_for_job(root: Path, rendezvous: str, patience: float) -> Path:
    """RUN.json of the training that meets at `rendezvous`, once its first machine listens there.

    Raises TextmillError after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if listens(rendezvous) and (jobs := announced(root, rendezvous)):
            return jobs[0]
        time.sleep(POLL)
    raise TextmillError(
        f"In {patience:.0f} s no training that meets at {rendezvous} was announced in {root}: see whether the first "
        "machine's run trains at all (a model that is there is not trained again), and whether both use one store."
    )


def announced(root: Path, rendezvous: str) -> list[Path]:
    """The jobs that name this rendezvous, newest first; older ones are of runs that were killed."""
    found = []
    for path in (root / "work").glob(f"model-*/keep/{ANNOUNCED}"):
        try:
            if path.read_text().strip() == rendezvous:
                found.append((path.stat().st_mtime, path.with_name("RUN.json")))
        except FileNotFoundError:
            continue  # published meanwhile
    return [job for _, job in sorted(found, reverse=True)]


def listens(rendezvous: str) -> bool:
    host, _, port = rendezvous.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
