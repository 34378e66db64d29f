"""What Prefect and the store cost: `python -m tests.benchmarks.orchestration [RUNS]`.

Each run is the command a user types, in a fresh process, on a fresh store: `textmill run python-docs --json`, followed
by the same command once more, where everything is cached. Time in stage functions is what the builds recorded;
everything else, process start and imports included, is orchestration. Our own part of a cached rerun is what it takes
longer than a flow with as many task runs that does nothing, started the same way in the same round.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data.store import Store
from tests.benchmarks.table import print_table

EMPTY = """
from flows.settings import prepare_prefect, quieten_prefect
prepare_prefect(); quieten_prefect()
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed
from flows.start import TASK_RUNNER
@task(cache_policy=NO_CACHE, persist_result=False)
def nothing():
    return Completed(name="Cached")
@flow(task_runner=TASK_RUNNER, persist_result=False)
def empty(count):
    for _ in range(count):
        nothing(return_state=True)
empty({count})
"""


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Wall time in seconds of a process, and what it printed on stdout."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - started, done.stdout


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    first, overhead, share, cached, own = [], [], [], [], []
    for number in range(runs):
        command = ["-m", "flows", "run", "python-docs", "--json", "--set", f"training.seed={number + 1}"]
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "TEXTMILL_STORE": folder}
            seconds, printed = timed(command, environment)
            summary = json.loads(printed.splitlines()[-1])
            store = Store(Path(folder))
            refs = [store.resolve(ref) for refs in summary["artifacts"].values() for ref in refs]
            builds = (store.path(ref) / "observed" / "build.json" for ref in refs)
            work = sum(json.loads(path.read_text())["seconds"] for path in builds)
            again, printed = timed(command, environment)
            summary = json.loads(printed.splitlines()[-1])
            assert all(summary["cached"].values()), summary["cached"]
            tasks = len(summary["cached"]) + 1  # one Cached state a stage, and the look at the source
            empty, _ = timed(["-c", EMPTY.replace("{count}", str(tasks))], environment)
        first.append(seconds)
        overhead.append(seconds - work)
        share.append(100 * (seconds - work) / seconds)
        cached.append(again)
        own.append(again - empty)
        print(
            f"run {number + 1} of {runs}: {seconds:.0f} s, {share[-1]:.1f}% outside of stage functions, "
            f"cached {again:.1f} s, empty flow {empty:.1f} s, {summary['metrics']['val_bpb']:.4f} bits per byte",
            flush=True,
        )
    print_table(
        "Orchestration of python-docs",
        [
            ("whole run, fresh store", first, "s", "under 300"),
            ("outside of stage functions", overhead, "s", ""),
            ("the same, share of the run", share, "%", "under 10"),
            ("fully cached rerun", cached, "s", "under 20"),
            ("our own code in it (less an empty flow)", own, "s", "under 2"),
        ],
    )


if __name__ == "__main__":
    main()
