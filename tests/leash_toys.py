"""A run of two units on a pool of processes, to be ended from outside: `python -m tests.leash_toys HOW STORE`.

HOW is what the units do: `asking` whether to go on, `deaf` in one long step, or `ending` well with what was kept.
"""

import sys
import time
from functools import partial

from prefect import flow

from data.facts import Facts
from data.store import Build
from flows.start import TASK_RUNNER
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.units import Unit, UnitProgress, run_units

LONG = 120.0  # seconds


def make(how: str, build: Build, progress: UnitProgress) -> Facts:
    half = build.keep / "half"
    if how == "ending":
        (build.out / "whole").write_text(half.read_text())
        return Facts()
    half.write_text("half")
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        time.sleep(0.05 if how == "asking" else LONG)
        progress(1, 2, "parts")
    return Facts()


@flow(task_runner=TASK_RUNNER)
def two_units(how: str, store: str) -> None:
    with Run("toy", Runtime(store=store, runner="processes", workers=2)) as run:
        units = [Unit(f"u{n}", f"u{n}", identity("plan", {"n": n}, {}), (), partial(make, how)) for n in range(2)]
        run_units(run, "plan", units)


if __name__ == "__main__":
    from tests import leash_toys  # so that the processes of the pool find the functions by their names

    leash_toys.two_units(*sys.argv[1:])
