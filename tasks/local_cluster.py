"""A Dask cluster of this machine, whose worker processes may die at any moment: while they start, too.

Dask itself starts a worker again that dies once it has been up. It gives up where one dies as the cluster starts, and
leaves out for good a worker that does not come again soon; both are made good here.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from distributed import LocalCluster
from distributed.core import Status

from data.errors import TextmillError

log = logging.getLogger(__name__)

STARTS = 4  # times that a cluster is started before it is given up
PATIENCE = 180.0  # seconds without any worker, after which none is waited for


class Cluster(LocalCluster):  # type: ignore[misc]
    """Workers of one thread each; asked again and again while it is waited for, it replaces those that are gone."""

    def __init__(self, workers: int) -> None:
        super().__init__(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0)

    def look_after(self, seen: float) -> float:
        """Start what is missing. `seen` is when a worker was last seen, or waiting began, by the clock that only goes
        on; returns it anew. Raises TextmillError when that is too long ago.
        """
        if self.scheduler.workers:
            seen = time.monotonic()
        elif time.monotonic() - seen > PATIENCE:
            raise TextmillError(
                f"No worker of the Dask cluster of this machine has stayed alive for {PATIENCE:g} s: each died as it "
                "started, as when memory runs out. Lower runtime.workers, or set runtime.runner to threads; then run "
                "again."
            )
        self.sync(self._replace)
        return seen

    async def _replace(self) -> None:
        for name, nanny in list(self.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del self.workers[name]
        missing = len(self.worker_spec) - len(self.workers)
        if missing:
            log.warning("Of %d Dask workers %d had gone for good: starting others.", len(self.worker_spec), missing)
            with suppress(RuntimeError):  # one that dies as it starts is replaced the next time
                await asyncio.shield(self._correct_state())  # an interrupt must not leave one that nobody knows of


def start_cluster(workers: int) -> Any:
    """A running cluster of so many worker processes. Raises TextmillError when no start succeeds."""
    for number in range(1, STARTS + 1):
        try:
            return Cluster(workers)
        except RuntimeError as error:  # what Dask raises, having ended the other workers
            cause = error.__cause__ or error
            log.warning("A Dask cluster did not start (%d of %d starts): %s", number, STARTS, cause)
    raise TextmillError(
        f"The Dask cluster of this machine could not be started in {STARTS} starts with {workers} workers ({cause}). "
        "Where workers die for lack of memory, lower runtime.workers or set runtime.runner to threads; then run again."
    )
