"""Cleaning and encoding on one and on two Dask workers: `python -m tests.benchmarks.dask_scaling [--rounds N]`.

Wall time of the two stages as a run reports them, each on a store of its own, cluster start left out: two trivial units
are built before. Beside it stands what two processes gain that share nothing at all: cores that are not whole, or are
busy, give no more to anything. Then what a task costs that writes one small file, by runner: wall time, and processor
time of the flow's process (with Dask, the scheduler is in it) and of Prefect's server, which are one each however many
workers there are; tests/benchmarks/scaling_plan.py counts with them. Runs against a Prefect server of its own.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from data.facts import Facts
from data.store import Build
from flows.recipe import Recipe
from flows.start import TASK_RUNNER
from tasks.cleaning import clean
from tasks.corpus import split
from tasks.duplicates import find_duplicates
from tasks.encoding import choose_tokenizer, encode
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.sources import fetch
from tasks.units import Unit, UnitProgress, run_units
from tests.benchmarks.cleaning import of_plain_loops
from tests.benchmarks.table import print_table
from tests.benchmarks.tokens import documents
from tests.prefect_servers import Server, send_what_waits

GOAL = 1.7  # times one worker
STAGES = ("documents", "tokens")


def write_unit(number: int, build: Build, progress: UnitProgress) -> Facts:
    """The smallest unit there is."""
    (build.out / "number.txt").write_text(str(number))
    return Facts()


def trivial(run: Run, count: int, tag: str) -> None:
    """Build `count` units that write a few bytes each, as a stage that nobody else uses."""
    make = [partial(write_unit, number) for number in range(count)]
    units = [Unit(f"u-{n}", f"u {n}", identity("raw", {"n": n, "of": tag}, {}), (), one) for n, one in enumerate(make)]
    run_units(run, "raw", units)


class Cost(NamedTuple):
    """Milliseconds of one task: of the clock, of the flow's process, of Prefect's server."""

    wall: float
    flow: float
    server: float


@flow(task_runner=TASK_RUNNER, persist_result=False)
def stages(texts: Path, store: Path, workers: int, slot_bytes: int) -> dict[str, float]:
    """Seconds of the two stages with so many Dask workers."""
    runtime = Runtime(store=str(store), runner="dask", workers=workers)
    source = {"kind": "folder", "path": str(texts), "slot_bytes": slot_bytes}
    recipe = {
        "name": "dask",
        "sources": {"texts": source},
        "tokenizer": {"kind": "bpe", "vocab_size": 4096, "sample_bytes": 10_000_000},
        "cleaning": {"profile": "light", "privacy": "on"},
    }
    whole = Recipe.model_validate(recipe)
    sources = whole.used_sources()
    run = Run("dask", runtime)
    with run:  # as flows/corpus.py has it, without what is not measured and not needed
        trivial(run, 2, "warm")
        cleaned = clean(run, fetch(run, sources), sources, whole.cleaning)
        shards, _ = split(run, cleaned, find_duplicates(run, cleaned, whole.duplicates), whole.split, whole.name)
        encode(run, shards, choose_tokenizer(run, shards, whole.tokenizer, whole.name))
    return {stage: run.records[stage].seconds for stage in STAGES}  # type: ignore[index]


@flow(task_runner=TASK_RUNNER, persist_result=False)
def overhead(store: Path, runner: Any, count: int, server: int) -> Cost:
    """What one trivial unit of many costs, in a runner that is already up."""
    with Run("overhead", Runtime(store=str(store), runner=runner, workers=2)) as run:
        trivial(run, 4, "warm")
        before = time.perf_counter(), time.process_time(), _seconds(server)
        trivial(run, count, "timed")
        after = time.perf_counter(), time.process_time(), _seconds(server)
    return Cost(*(1000 * (late - early) / count for early, late in zip(before, after, strict=True)))


def _seconds(pid: int) -> float:
    """Processor time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def write_texts(folder: Path, files: int, megabytes: int) -> None:
    """Documents of about so many megabytes in so many files of about one size; what is there already stays."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        opened = [stack.enter_context((folder / f"{n:02d}.jsonl").open("w", encoding="utf-8")) for n in range(files)]
        for number, text in enumerate(documents(megabytes * 1_000_000)):
            opened[number % files].write(json.dumps({"text": text}) + "\n")


@contextmanager
def own_server(folder: Path) -> Iterator[int]:
    """A Prefect server for the flows of this process; yields its process id."""
    server = Server(folder / "prefect")
    try:
        server.wait()
        os.environ |= {"PREFECT_API_URL": server.api, "PREFECT_HOME": str(server.home)}  # for the workers' processes
        with temporary_settings({PREFECT_API_URL: server.api, PREFECT_HOME: server.home}):
            yield server.process.pid
            send_what_waits()
    finally:
        server.stop()


def main() -> int:
    """Print the table; exit code 1 when the goal is missed where plain loops show that it could have been met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=100, help="trivial ones whose cost is measured; 0: none")
    parser.add_argument("--texts", type=Path, help="folder that keeps the text for further runs")
    arguments = parser.parse_args()
    ratios: dict[str, list[float]] = {stage: [] for stage in STAGES}
    loops: list[float] = []
    costs: dict[str, list[Cost]] = {"threads": [], "processes": [], "dask": []}
    with tempfile.TemporaryDirectory() as name, own_server(Path(name)) as server:
        texts = arguments.texts or Path(name, "texts")
        write_texts(texts, arguments.slots, arguments.megabytes)
        for number in range(arguments.rounds):
            stores = ((Path(name, f"store-{number}-{workers}"), workers) for workers in (1, 2))
            one, two = (stages(texts, store, workers, 1_000_000) for store, workers in stores)
            loops.append(of_plain_loops())
            for stage in STAGES:
                ratios[stage].append(one[stage] / two[stage])
            print(f"round {number + 1}: one worker {one}, two {two}, loops {loops[-1]:.2f}x", flush=True)
            for runner, known in costs.items() if arguments.tasks else ():
                known.append(overhead(Path(name, f"overhead-{number}-{runner}"), runner, arguments.tasks, server))
    rows: list[tuple[str, list[float], str, str]] = [
        (f"{stage}, from one Dask worker to two", its, "x", f"at least {GOAL:g}") for stage, its in ratios.items()
    ]
    rows.append(("two plain loops on two cores", loops, "x", "the most there is to gain"))
    for runner, its in costs.items() if arguments.tasks else ():
        rows.append((f"one trivial unit of {arguments.tasks}, {runner}", [one.wall for one in its], "ms", ""))
        rows.append(("    of it the flow's process", [one.flow for one in its], "ms", ""))
        rows.append(("    and the server", [one.server for one in its], "ms", ""))
    print_table(f"Dask: {arguments.megabytes} MB in {arguments.slots} files, {arguments.rounds} rounds", rows)
    possible = min(GOAL, 0.9 * max(loops))
    return 0 if all(max(its) >= possible for its in ratios.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
