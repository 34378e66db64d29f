"""How many processes train a model, and the command that starts them: one directly, several by torchrun.

Counts a machine's cards without torch, which never enters this process.
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data.errors import TextmillError
from data.store import Store
from tasks.runtime import Runtime, available_cores

CARDS = Path("/proc/driver/nvidia/gpus")
ANNOUNCED = "JOIN"  # file beside RUN.json that names the rendezvous of a training of several machines
RENDEZVOUS = re.compile(r"(?P<host>[^\s:]+|\[[0-9a-fA-F:]+\]):(?P<port>[1-9]\d{0,4})")


@dataclass(frozen=True)
class Launch:
    """`processes` on each of `nodes` machines, of which this one is the first; `rendezvous` is its host:port."""

    processes: int = 1
    nodes: int = 1
    rendezvous: str | None = None
    threads: int | None = None  # of each process; None: torch's choice

    @property
    def is_one(self) -> bool:
        return self.processes * self.nodes == 1

    def argv(self, module: str, node: int = 0) -> list[str]:
        """The command on machine number `node`, before the module's own arguments."""
        if self.is_one:
            return [sys.executable, "-m", module]
        each = ["--nproc-per-node", str(self.processes)]
        where = ["--standalone"]  # on a port that is free
        if self.rendezvous is not None:
            host, _, port = self.rendezvous.rpartition(":")
            where = ["--nnodes", str(self.nodes), "--node-rank", str(node), "--master-addr", host.strip("[]")]
            where += ["--master-port", port]
        return [sys.executable, "-m", "torch.distributed.run", *where, *each, "-m", module]

    def environment(self) -> dict[str, str]:
        """So that processes of one machine do not fight for its cores."""
        return {} if self.is_one or self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}

    def announce(self, run_dir: Path) -> None:
        """Leave beside RUN.json what `tasks.join` on the other machines looks for."""
        if self.nodes > 1:
            (run_dir / ANNOUNCED).write_text(f"{self.rendezvous}\n")

    def elsewhere(self, module: str, job: Path) -> str | None:
        """What must be started on the other machines, in one line; None when there are none."""
        if self.nodes == 1:
            return None
        nodes = range(1, self.nodes)
        commands = "; ".join(f"on machine {n}: {shlex.join([*self.argv(module, n), str(job)])}" for n in nodes)
        return f"This run waits for its other machines, which must see the same files. Start {commands}"


def refuse_apart(launch: Launch, store: Store) -> None:
    """Raise TextmillError for several machines on a store in a bucket, of which each has copies of its own."""
    if launch.nodes > 1 and store.where != str(store.root):
        raise TextmillError(
            f"runtime.nnodes is {launch.nodes}, but the store is {store.where}, and a training of several machines "
            "needs a folder that all of them see: set TEXTMILL_STORE to one, or nnodes to 1."
        )


def launch_of(runtime: Runtime) -> Launch:
    """What the settings of a run say. Raises TextmillError for those that cannot be."""
    if runtime.nnodes > 1 and runtime.rendezvous is None:
        raise TextmillError(
            f"runtime.nnodes is {runtime.nnodes}, but runtime.rendezvous is not set: give a host and a free port of "
            f"this machine that the others can reach, such as 10.0.0.1:29400."
        )
    if runtime.rendezvous is not None:
        found = RENDEZVOUS.fullmatch(runtime.rendezvous)
        if found is None or int(found["port"]) > 65535:
            raise TextmillError(
                f"runtime.rendezvous is {runtime.rendezvous!r}, but it must be host:port, such as 10.0.0.1:29400."
            )
        if runtime.nnodes == 1:
            raise TextmillError(
                f"runtime.rendezvous is {runtime.rendezvous}, but runtime.nnodes is 1: set the number of machines, or "
                f"leave rendezvous out."
            )
    cards = card_count() if runtime.device in ("auto", "cuda") else 0
    processes = runtime.processes or max(1, cards)
    if processes > cards and (cards or runtime.device == "cuda") and processes > 1:
        raise TextmillError(
            f"runtime.processes is {processes}, but this machine has {cards} CUDA cards to use: set it to at most "
            f"{max(1, cards)}, or runtime.device to cpu."
        )
    if runtime.device == "mps" and processes * runtime.nnodes > 1:
        raise TextmillError(
            f"runtime.processes is {processes} on {runtime.nnodes} machines, but runtime.device mps takes one process "
            f"alone: set both to 1, or runtime.device to cpu."
        )
    threads = runtime.threads or max(1, available_cores() // processes)
    return Launch(processes, runtime.nnodes, runtime.rendezvous, threads)


def card_count(environment: Mapping[str, str] = os.environ) -> int:
    """CUDA cards that a process started from here would see; 0 without NVIDIA's driver."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    there = sum(1 for _ in CARDS.iterdir()) if CARDS.is_dir() else 0
    if chosen is None or not there:
        return there
    names = [name.strip() for name in chosen.split(",")]
    valid = names[: next((place for place, name in enumerate(names) if name in ("", "-1")), len(names))]
    return min(len(valid), there) if all(name.isdigit() for name in valid) else len(valid)
