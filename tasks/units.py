"""How every stage runs: look all units up in one call, report the hits as one `Cached` state, build the misses.

A unit is one artifact to be. Stages describe units; nothing here knows what a stage means. Prefect's own cache stays
off: it would see these wrappers, not what they call, and could not tell whether the data behind a hit still exists.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.utilities.annotations import quote

from data import ending
from data.errors import TextmillError
from data.facts import Facts
from data.manifest import ArtifactRef, Identity
from data.store import Build, Store
from tasks.log_bounds import bound_logs
from tasks.misses import explain_misses
from tasks.notes import tell_notes
from tasks.progress import watcher
from tasks.registry import Stage
from tasks.run import Run, StageRecord
from tasks.runner import Runner

T = TypeVar("T")


class UnitProgress(Protocol):
    """A `data.facts.Progress` that also takes a note, e.g. the loss so far."""

    def __call__(self, done: float, total: float, unit: str, note: str = "") -> None: ...


Make = Callable[[Build, UnitProgress], Facts]


@dataclass(frozen=True)
class Unit:
    """One artifact to be: what determines it, what it is made from, and how it is made.

    name   display name of the artifact; never part of its key
    label  what people see, e.g. `python-docs 3/8`
    again  whether it is made again though it is there
    reads  artifacts whose files `make` reads at their `Store.place`, where they are brought first; those of their files
           that the pattern takes (fnmatch) are compared with their manifests before
    here   whether only this process may make it, wherever others are made
    """

    name: str
    label: str
    identity: Identity
    inputs: tuple[ArtifactRef, ...]
    make: Make
    again: bool = False
    reads: Mapping[ArtifactRef, str] = field(default_factory=dict)
    here: bool = False


class Job:
    """A unit and the store it belongs to, on their way to a task: nobody looks into it for futures."""

    def __init__(self, store: Store, unit: Unit) -> None:
        self.store, self.unit = store, unit


@task(task_run_name="{stage}: {reused} of {total} reused", cache_policy=NO_CACHE, persist_result=False)
def report_reused(stage: str, reused: int, total: int) -> State[None]:
    """Show in the run's page what needed no work."""
    return Completed(name="Cached", message=f"{reused} of {total} reused")


@task(task_run_name="{stage} {label}", cache_policy=NO_CACHE, persist_result=False)
def build_unit(stage: str, label: str, job: Job) -> ArtifactRef:
    """Build and publish one unit. The stage has looked all units up before: only misses come here."""
    bound_logs()  # this may be a process that no flow has prepared
    watch = watcher()
    store, planned = job.store, job.unit

    def progress(done: float, total: float, unit: str, note: str = "") -> None:
        ending.check()
        watch.progress(stage, label, done, total, unit, note)

    def wait(holder: str) -> None:
        watch.note(f"{stage} {label} is being built by {holder}: waiting for its result")

    def make(build: Build) -> Facts:
        with store.using(planned.reads):
            for read, files in planned.reads.items():
                store.require_whole(read, files)
            try:
                return planned.make(build, progress)
            except (TextmillError, ending.EndingError):
                raise
            except Exception:  # what a library makes of damaged bytes, perhaps: then that is what to say
                for read in planned.inputs:
                    store.require_whole(read)
                raise

    ref = store.build(planned.identity, planned.name, make, planned.inputs, planned.again, wait)
    watch.built(stage, label)
    notes = [f"{stage} {label}: {note}" for note in store.manifest(ref).notes]
    tell_notes(watch.note, notes, f"see its manifest: textmill show {ref}")
    return ref


@dataclass
class StageWork:
    """One stage of one run. `build` may be called several times; the stage is reported once, at its end."""

    run: Run
    stage: Stage
    total: int
    record: StageRecord = field(default_factory=StageRecord)

    def build(self, units: Sequence[Unit], in_parallel: bool = True) -> list[ArtifactRef]:
        """References of `units`, in their order: looked up in bulk, misses built.

        `in_parallel` submits misses to the run's runner, at most so many at once as it takes; otherwise they are called
        one after the other in this thread, which is what lets a cancelled run reach the work (Prefect tells only the
        main thread).
        """
        if self.stage in self.run.refresh:
            units = [replace(unit, again=True) for unit in units]
        store = self.run.store
        self.run.use_keys(self.stage, [unit.identity.key for unit in units])
        hits = store.find(self.stage, [unit.identity.key for unit in units if not unit.again])
        misses = [unit for unit in units if unit.identity.key not in hits]
        for reason in explain_misses(store, [(unit.name, unit.label, unit.identity) for unit in misses]):
            watcher().note(f"{self.stage}: {reason}")
        if in_parallel and len(misses) > 1:
            with others_leave_with_us():
                built = _submit_all(self.stage, misses, store, self.run.runner)
        else:
            built = [build_unit(self.stage, unit.label, Job(store, unit)) for unit in misses]
        made = {unit.identity.key: ref for unit, ref in zip(misses, built, strict=True)}
        refs = [hits.get(unit.identity.key) or made[unit.identity.key] for unit in units]
        self.record.refs += refs
        self.record.reused += len(hits)
        self.record.built += len(made)
        return refs


@contextmanager
def stage_work(run: Run, stage: Stage, total: int = 1) -> Iterator[StageWork]:
    """Open a stage for `total` units, and report it when its work is done."""
    watcher().started(stage, total)
    started = time.perf_counter()
    work = StageWork(run, stage, total, run.record(stage))
    yield work
    record = work.record
    record.seconds += time.perf_counter() - started
    if record.reused:
        report_reused(stage, record.reused, record.reused + record.built, return_state=True)
    watcher().finished(stage, record.reused, record.built, record.seconds)


def run_units(run: Run, stage: Stage, units: Sequence[Unit], in_parallel: bool = True) -> list[ArtifactRef]:
    """A stage whose units are all known at once; ends the flow's body if the run was to go only so far."""
    with stage_work(run, stage, len(units)) as work:
        refs = work.build(units, in_parallel)
    run.finish(stage)
    return refs


def run_unit(run: Run, stage: Stage, unit: Unit) -> ArtifactRef:
    """A stage of one unit, called in this thread; the flow says itself when the stage is done (`run.finish`)."""
    with stage_work(run, stage) as work:
        return work.build([unit], in_parallel=False)[0]


@contextmanager
def others_leave_with_us() -> Iterator[None]:
    """When this thread is told to stop, so are those that build: the process ends with the last of them."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            ending.begin()
        raise


def _submit_all(stage: Stage, units: Sequence[Unit], store: Store, runner: Runner) -> list[ArtifactRef]:
    """Submit every unit, never more unfinished than the runner takes; the first failure is raised after the rest."""
    watch = watcher()
    at_once = runner.at_once
    slots, ended = threading.Semaphore(at_once), threading.Semaphore(0)

    def end(_: PrefectFuture[ArtifactRef]) -> None:
        slots.release()
        ended.release()

    futures: list[PrefectFuture[ArtifactRef]] = []
    for unit in units:
        runner.wait(slots)
        if len(futures) >= at_once:
            watch.progress(stage, "", len(futures) - at_once + 1, len(units), "parts", "")
        given = {"stage": stage, "label": unit.label, "job": Job(store, unit)}
        future = runner.submit(build_unit, given, unit.here)
        future.add_done_callback(end)
        futures.append(future)
    for number in range(1, len(futures) + 1):
        runner.wait(ended)
        watch.progress(stage, "", max(number, len(futures) - at_once + 1), len(units), "parts", "")
    built = [runner.result(future, f"{stage} {unit.label}") for unit, future in zip(units, futures, strict=True)]
    watch.built(stage, "")
    return built


def as_it_is(value: T) -> T:
    """Hand a value to a task without having Prefect walk through it in search of futures."""
    return cast(T, quote(value))
