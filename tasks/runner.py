"""Where the units of a stage are built: in threads of the flow's process, in processes beside it, or on a Dask cluster.

Threads are the flow's own task runner. The others are opened when the first unit is submitted, so that a run that finds
everything in the store starts none, and closed with the run. Their processes talk to the Prefect server themselves; the
store, and the texts of sources that are folders, must lie under the same path for all of them.
"""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from data.errors import TextmillError
from tasks.cluster_check import check_cluster
from tasks.leash import Leash, hold
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

AHEAD = 2  # units that are submitted for each thread of a cluster, so that none waits for the next one
LOOK = 5.0  # seconds from one look after a cluster to the next


class Runner:
    """The processes of one run. Raises TextmillError for what cannot work, before anything is built."""

    def __init__(self, runtime: Runtime, store: Path) -> None:
        self._runtime, self._store = runtime, store
        self._opened: TaskRunner[PrefectFuture[Any]] | None = None
        self._cluster: Any = None  # of this machine, if it is ours
        self._looked = 0.0  # when the cluster was last looked after
        self._ends = ExitStack()
        self._leash: Leash | None = None
        self._threads = runtime.worker_count
        if runtime.dask_address and runtime.runner != "dask":
            raise TextmillError(
                f"runtime.dask_address is {runtime.dask_address}, but runtime.runner is {runtime.runner}: set "
                "that to dask."
            )
        if runtime.runner == "dask" and find_spec("prefect_dask") is None:
            raise TextmillError("runtime.runner is dask, whose package is missing: pip install 'textmill[dask]'.")
        if self.is_apart and not PREFECT_API_URL.value():
            raise TextmillError(
                f"runtime.runner is {runtime.runner}, but PREFECT_API_URL is not set, so that every process would "
                "start a Prefect server of its own: run `make up`, and set PREFECT_API_URL=http://127.0.0.1:4200/api."
            )

    @property
    def is_apart(self) -> bool:
        """Whether units are built in other processes than the flow's."""
        return self._runtime.runner != "threads"

    @property
    def at_once(self) -> int:
        """How many units may be submitted and unfinished."""
        if not self.is_apart:
            return self._runtime.worker_count
        self._open()
        return self._threads * (AHEAD if self._runtime.runner == "dask" else 1)

    def submit(self, task: Task[..., Any], parameters: Mapping[str, Any], here: bool = False) -> PrefectFuture[Any]:
        """Start a task run; with `here` in a thread of this process, wherever the others are."""
        if here or not self.is_apart:
            return cast("PrefectFuture[Any]", task.submit(**parameters))
        return self._open().submit(task, dict(parameters))

    def wait(self, done: threading.Semaphore) -> None:
        """Take `done` when it is to be had; meanwhile workers that die are replaced.

        Raises TextmillError when none is left, and none comes.
        """
        seen = time.monotonic()
        while not done.acquire(timeout=LOOK):
            seen = self._look_after(seen)
        if time.monotonic() - self._looked > LOOK:  # also where units end all the time, on the workers that are left
            self._look_after(time.monotonic())

    def _look_after(self, seen: float) -> float:
        self._looked = time.monotonic()
        return seen if self._cluster is None else cast("float", self._cluster.look_after(seen))

    def result(self, future: PrefectFuture[Any], label: str) -> Any:
        """What a task run came to. Raises what it raised, and TextmillError when its process died again and again."""
        try:
            return future.result()
        except Exception as error:
            if type(error).__name__ in ("KilledWorker", "BrokenProcessPool"):
                raise TextmillError(
                    f"{label}: the process that built it died, as when memory runs out or its machine is switched off. "
                    "Lower runtime.workers, or give the workers more memory; then run again."
                ) from error
            raise

    def close(self, at_once: bool = False) -> None:
        """End what was opened; `at_once`: what is still being built there is left as by any killed run."""
        self._opened, self._cluster = None, None
        leash, self._leash = self._leash, None
        if leash is not None and at_once:
            leash.let_go()
        try:
            self._ends.close()
        except Exception as error:  # a cluster that is gone already
            log.warning("Closing the runner %s: %s", self._runtime.runner, error)
        if leash is not None and not at_once:  # by now they have sent their logs, and are gone
            leash.let_go()

    def _open(self) -> TaskRunner[PrefectFuture[Any]]:
        if self._opened is None:
            if self._runtime.runner == "processes":
                self._leash = Leash()
                self._opened = self._ends.enter_context(_process_pool(self._threads, self._leash))
            else:
                self._open_dask()
        return cast("TaskRunner[PrefectFuture[Any]]", self._opened)

    def _open_dask(self) -> None:
        address = self._runtime.dask_address
        _quieten_dask()
        if not address:
            self._cluster = self._ends.enter_context(_dask(self._runtime))
        try:
            opened = self._ends.enter_context(_dask_runner(address or self._cluster))
            client = cast(Any, opened).client
        except (OSError, ValueError) as error:
            if not address:
                raise
            raise TextmillError(
                f"runtime.dask_address is {address}, but no Dask scheduler answers there "
                f"({error}): start one with `dask scheduler`, or leave it out for a cluster of this machine."
            ) from error
        self._opened = opened
        threads = check_cluster(client, self._store)
        self._threads = threads if address else self._runtime.worker_count


def _process_pool(workers: int, leash: Leash) -> TaskRunner[PrefectFuture[Any]]:
    pool = ProcessPoolTaskRunner(max_workers=workers, initializer=hold, initargs=(leash.holder,))
    return cast("TaskRunner[PrefectFuture[Any]]", pool)


def _dask(runtime: Runtime) -> Any:
    """A cluster of this machine, that ends with the run."""
    from tasks.local_cluster import start_cluster

    return start_cluster(runtime.worker_count)


def _dask_runner(where: Any) -> TaskRunner[PrefectFuture[Any]]:
    """Prefect's runner on a cluster, or on the one at an address."""
    from prefect_dask.task_runners import DaskTaskRunner

    given: dict[str, Any] = {"address": where} if isinstance(where, str) else {"cluster": where}
    runner = DaskTaskRunner(**given, client_kwargs={"set_as_default": False})
    return cast("TaskRunner[PrefectFuture[Any]]", runner)


def _quieten_dask() -> None:
    """Scheduler and workers tell of every step they take."""
    import distributed  # noqa: F401 - makes the loggers

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.WARNING)
