"""Joins over all slots of a corpus, range of hashes by range: each a task of its own on the runner of the flow.

What a join finds does not depend on how many ranges there are, or on who joins them where; so a runner with more
machines only makes it shorter. The files of the slots must lie at the same place for all of them.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from data import ending
from data.arrays import Range
from tasks.progress import watcher
from tasks.registry import Stage
from tasks.runner import Runner
from tasks.units import others_leave_with_us

T = TypeVar("T")
Join = Callable[[Sequence[Range]], list[T]]
"""What joining each of some ranges finds, in their order; it must be picklable, for it may run anywhere."""


@task(task_run_name="{stage} {label}", cache_policy=NO_CACHE, persist_result=False)
def join_ranges(stage: str, label: str, join: Join[T], ranges: Sequence[Range]) -> list[T]:
    """Join some ranges that follow each other."""
    ending.check()
    return join(ranges)


def joined(
    stage: Stage, what: str, join: Join[T], ranges: Sequence[Range], runner: Runner, at_once: int = 1
) -> list[T]:
    """What joining all ranges finds, in their order. One task's worth is joined here, without a task run.

    what     is joined, as people see it
    runner   where the tasks run
    at_once  ranges of one task, so that it takes a second or so
    """
    parts = [ranges[start : start + at_once] for start in range(0, len(ranges), at_once)]
    if len(parts) == 1:
        return join(parts[0])
    with others_leave_with_us():
        return list(_submitted(stage, what, join, parts, runner))


def _submitted(stage: Stage, what: str, join: Join[T], parts: Sequence[Sequence[Range]], runner: Runner) -> Iterator[T]:
    """What each range gives, as soon as it and all before it are done."""
    workers = runner.at_once
    free = threading.BoundedSemaphore(workers)
    futures: list[PrefectFuture[list[T]]] = []
    for number, part in enumerate(parts, 1):
        free.acquire()
        label = f"{what} {number}/{len(parts)}"
        future = runner.submit(join_ranges, {"stage": stage, "label": label, "join": join, "ranges": part})
        future.add_done_callback(lambda _: free.release())
        futures.append(future)
        watcher().progress(stage, "", max(0, number - workers), len(parts), what, "")
    for number, future in enumerate(futures, 1):
        future.wait()
        watcher().progress(stage, "", max(number, len(parts) - workers), len(parts), what, "")
    for number, future in enumerate(futures, 1):
        yield from runner.result(future, f"{stage} {what} {number}/{len(parts)}")
