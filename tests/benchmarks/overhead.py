"""What handing out takes beside units of about 20 s: `python -m tests.benchmarks.overhead [--ways dask-1 ...]`.

The stage is cleaning with the profile `web` and personal data replaced, of real text in slots that take about 20 s
each. A unit's own time is what the store notes as it is built (observed/build.json); its digests and its publishing,
the task's states on Prefect's server, Dask's messages and the stage's lookups are outside of it. A worker's time goes
from the stage's begin to the end of its last unit, for the worker that ends last to the stage's end; the share of it
that is in no unit is the overhead. Processes and cluster are up before; runs against a Prefect server of its own.
"""

import argparse
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from time import perf_counter, time
from typing import NamedTuple

from prefect import flow

from flows.recipe import Recipe
from flows.start import TASK_RUNNER
from tasks.cleaning import clean
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.sources import fetch
from tests.benchmarks.dask_scaling import own_server, trivial, write_texts
from tests.benchmarks.table import print_table

GOAL = 5.0  # percent
WAYS = ("threads-1", "threads-2", "dask-1", "dask-2")  # a runner, and how many units at once


class Timed(NamedTuple):
    """Seconds of the stage, of each unit's own work, and of the workers together; the last two tell the overhead."""

    wall: float
    units: list[float]
    workers: float

    @property
    def overhead(self) -> float:
        """Percent of the workers' time that is in no unit."""
        return 100 * (1 - sum(self.units) / self.workers)


@flow(task_runner=TASK_RUNNER, persist_result=False)
def clean_timed(texts: Path, store: Path, runner: str, at_once: int, slot_bytes: int) -> Timed:
    """The stage on a store of its own."""
    source = {"kind": "folder", "path": str(texts), "slot_bytes": slot_bytes}
    recipe = Recipe.model_validate(
        {"name": "overhead", "sources": {"texts": source}, "cleaning": {"profile": "web", "privacy": "on"}}
    )
    runtime = Runtime.model_validate({"store": str(store), "runner": runner, "workers": at_once})
    with Run("overhead", runtime) as run:
        trivial(run, 2 * at_once, "warm")
        slots = fetch(run, recipe.used_sources(), None)
        begin, clock = perf_counter(), time()
        cleaned = clean(run, slots, recipe.used_sources(), recipe.cleaning)
        wall = perf_counter() - begin
    manifests = [run.store.manifest(slot.ref) for slot in cleaned]
    places = [run.store.place(slot.ref) for slot in cleaned]
    units = [json.loads((place / "observed" / "build.json").read_text())["seconds"] for place in places]
    ends = sorted(datetime.fromisoformat(manifest.created).timestamp() - clock for manifest in manifests)
    return Timed(wall, units, wall + sum(ends[-at_once:-1]))


def main() -> int:
    """Print the table; exit code 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=40, help="of a slot")
    parser.add_argument("--texts", type=Path, help="folder that keeps the text for further runs")
    arguments = parser.parse_args()
    rows: list[tuple[str, list[float], str, str]] = []
    found = []
    with tempfile.TemporaryDirectory() as name, own_server(Path(name)):
        texts = arguments.texts or Path(name, "texts")
        write_texts(texts, arguments.slots, arguments.slots * arguments.megabytes)
        for way in arguments.ways:
            runner, at_once = way.rsplit("-", 1)
            timed = clean_timed(texts, Path(name, f"store-{way}"), runner, int(at_once), 1_000_000)
            found.append(timed)
            rows.append((f"{runner}, {at_once} at once: a unit's own work", timed.units, "s", ""))
            rows.append(("    the stage", [timed.wall], "s", ""))
            rows.append(("    workers' time in no unit", [timed.overhead], "%", f"under {GOAL:g}"))
            print(f"{way}: {timed}", flush=True)
    print_table(f"Handing out: {arguments.slots} slots of {arguments.megabytes} MB", rows)
    return 0 if all(one.overhead < GOAL for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
