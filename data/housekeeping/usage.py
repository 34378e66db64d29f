"""What runs use of a store, noted in its refs, so that cleaning up never takes it from under them.

    running/<recipe>   runs in progress, by id; those that were killed stay until the next run of the recipe
    runs/<recipe>      the newest runs that ended, oldest first

A run notes keys, then reads what is being removed (data/housekeeping/claims.py), and only then looks the keys up. A
collection notes what it is about to remove, then reads what runs use, and only then removes. So one of them always sees
the other: the run waits until the removal is over, or the collection lets the artifact be. An ended run is noted in
`runs` before it leaves `running`; whoever reads must read in that order, too. Works for every store whose refs take one
write after the other.
"""

import logging
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from data import ending
from data.errors import TextmillError
from data.files import make_folder
from data.housekeeping.claims import being_removed
from data.housekeeping.machine import is_alive, lock_of, now, place_of, this_process
from data.locks import owner_lock
from data.manifest import ArtifactRef
from data.store import Store

log = logging.getLogger(__name__)

RUNNING, RUNS = "running", "runs"
KEPT_RUNS = 20  # ended ones by recipe: so many that came to a model, and so many that did not
RUN_LEASE = 14 * 86_400.0  # seconds after its last word for which a run of another machine counts as alive
POLL = 0.1  # seconds between two looks whether a removal is over

Outcome = Literal["running", "done", "failed", "killed"]


@dataclass(frozen=True)
class RunRecord:
    """A run and the keys of artifacts, by stage, some of which may never have been built: of one that has ended all
    that it looked up or built, of one in progress or killed also what the run before it did.

    began, said  ISO 8601, UTC: first and last word of the run
    place        machine and store folder of its process, where its owner lock lies
    trained      whether it came to a model
    """

    id: str
    recipe: str
    began: str
    said: str
    place: str
    process: str
    keys: Mapping[str, Sequence[str]]
    outcome: Outcome = "running"
    trained: bool = False


class Usage:
    """What one run uses. Nothing is written before the first `use`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._record: RunRecord | None = None
        self._used: dict[str, set[str]] = {}
        self._held = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_held": ExitStack()}  # the lock stays with the run

    def use(self, recipe: str, stage: str, keys: Collection[str]) -> None:
        """Note that artifacts will be looked up or built; returns when none of them is being removed.

        The first call also notes all that the run before has used: a run that reuses everything writes no more.
        """
        if not keys:
            return
        begins = self._record is None
        record = self._record or self._begin(recipe)
        noted = record.keys.get(stage, ())
        self._used.setdefault(stage, set()).update(keys)
        new = set(keys).difference(noted)
        if new or begins:
            self._record = replace(record, said=now(), keys={**record.keys, stage: sorted(new.union(noted))})
            self._write(self._record)
            new = new.union(*record.keys.values()) if begins else new
            while not new.isdisjoint(being_removed(self.store)):
                ending.sleep(POLL)

    def end(self, recipe: str, outcome: Outcome, trained: bool) -> None:
        """Note how the run ended; from now on only what `runs` says keeps what it used. Never raises."""
        if (record := self._record) is None:
            return
        try:
            used = {stage: sorted(keys) for stage, keys in self._used.items()}
            ended = replace(record, recipe=recipe, said=now(), keys=used, outcome=outcome, trained=trained)
            _remember(self.store, ended)
            self.store.refs.update(f"{RUNNING}/{record.recipe}", lambda value: _without(value, [record.id]))
        except TextmillError as error:
            log.warning("How this run ended could not be noted, it will count as killed: %s", error)
        finally:
            self._record = None
            self._used = {}
            self._held.close()

    def leave(self) -> None:
        """Use nothing any more, without having been a run."""
        try:
            if record := self._record:
                self.store.refs.update(f"{RUNNING}/{record.recipe}", lambda value: _without(value, [record.id]))
        finally:
            self._record = None
            self._used = {}
            self._held.close()

    def _begin(self, recipe: str) -> RunRecord:
        """Take the owner lock of a new run, and note the earlier runs of the recipe that were killed as such."""
        began, new = now(), uuid.uuid4().hex[:8]
        make_folder(self.store.root / "work")
        self._held.enter_context(owner_lock(lock_of(self.store.root, "run", new)))
        dead = [one for one in _running(self.store, recipe) if not _is_alive(self.store, one)]
        for one in dead:
            _remember(self.store, replace(one, outcome="killed"))
        if dead:
            self.store.refs.update(f"{RUNNING}/{recipe}", lambda value: _without(value, [one.id for one in dead]))
        process = this_process()
        last = (self.store.refs.read(f"{RUNS}/{recipe}").value or [{"keys": {}}])[-1]["keys"]
        return RunRecord(new, recipe, began, began, place_of(self.store.root), process, last)

    def _write(self, record: RunRecord) -> None:
        value = asdict(record)
        self.store.refs.update(f"{RUNNING}/{record.recipe}", lambda others: {**(others or {}), record.id: value})


@contextmanager
def in_use(store: Store, recipe: str, ref: ArtifactRef) -> Iterator[None]:
    """See to it that an artifact, if it is there still, and all that it was made from are not removed meanwhile."""
    used = Usage(store)
    try:
        used.use(recipe, ref.stage, [ref.key])
        yield
    finally:
        used.leave()


def runs_in_progress(store: Store) -> list[RunRecord]:
    """Runs whose process is alive, oldest first; one of another machine counts as alive for `RUN_LEASE`."""
    found = [one for name in store.refs.names(RUNNING) for one in _running(store, name.partition("/")[2])]
    return sorted((one for one in found if _is_alive(store, one)), key=lambda one: one.began)


def ended_runs(store: Store) -> list[RunRecord]:
    """Runs that are over, of each recipe the oldest first; read them after those in progress.

    A run that used the very artifacts of an earlier one has taken its place. One that was killed comes last, until the
    next run of its recipe gives it a place.
    """
    killed = [one for name in store.refs.names(RUNNING) for one in _running(store, name.partition("/")[2])]
    dead = [replace(one, outcome="killed") for one in killed if not _is_alive(store, one)]
    names = store.refs.names(RUNS)
    ended = [_read(value, name) for name in names for value in store.refs.read(name).value or ()]
    return [*ended, *dead]


def _remember(store: Store, run: RunRecord) -> None:
    """Note an ended run as the newest of its recipe, in place of one that used the very same."""

    def add(value: Sequence[Mapping[str, Any]] | None) -> list[Any]:
        same = [one for one in value or () if one["keys"] == run.keys]
        newest = replace(run, trained=run.trained or any(one["trained"] for one in same))
        runs = [*(one for one in value or () if one not in same), asdict(newest)]
        kept = [[one for one in runs if one["trained"] is trained][-KEPT_RUNS:] for trained in (True, False)]
        return [one for one in runs if any(one in some for some in kept)]

    store.refs.update(f"{RUNS}/{run.recipe}", add)
    store.refs.drop_earlier(f"{RUNS}/{run.recipe}")


def _running(store: Store, recipe: str) -> list[RunRecord]:
    name = f"{RUNNING}/{recipe}"
    return [_read(value, name) for value in (store.refs.read(name).value or {}).values()]


def _read(value: Mapping[str, Any], name: str) -> RunRecord:
    try:
        return RunRecord(**value)
    except TypeError as error:
        raise TextmillError(
            f"refs/{name} cannot be read ({error}): use the version of Textmill that wrote it, or delete that folder."
        ) from error


def _without(value: Mapping[str, Any] | None, ids: Collection[str]) -> dict[str, Any]:
    return {one: run for one, run in (value or {}).items() if one not in ids}


def _is_alive(store: Store, run: RunRecord) -> bool:
    return is_alive(store.root, "run", run.id, run.place, run.said, RUN_LEASE)
