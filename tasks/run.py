"""One run of a recipe: which store, what to refresh, where to stop, and what happened so far."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

from data.housekeeping.usage import Usage
from data.manifest import ArtifactRef
from data.store import Store
from tasks.registry import STAGES, Stage
from tasks.runtime import Runtime, open_store

if TYPE_CHECKING:
    from tasks.runner import Runner


class GoalReachedError(Exception):
    """The stage named by `until` is done; ends the flow's body, is no failure."""


@dataclass
class StageRecord:
    """What a stage did in this run: its artifacts, how many were reused, wall time in seconds."""

    refs: list[ArtifactRef] = field(default_factory=list)
    reused: int = 0
    built: int = 0
    seconds: float = 0.0


@dataclass
class Run:
    """The context that flows hand to stages. As a context manager it ends quietly when `until` is reached, and ends
    the processes that build its units.

    What it uses stays in the store until it ends, and then as long as it is one of the last runs of its recipe.
    """

    recipe_name: str
    runtime: Runtime
    refresh: frozenset[Stage] = frozenset()
    until: Stage | None = None
    records: dict[Stage, StageRecord] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.store: Store = open_store(self.runtime.store)
        self._usage = Usage(self.store)

    @cached_property
    def runner(self) -> "Runner":
        """Where units are built. Raises TextmillError for settings that cannot work."""
        from tasks.runner import Runner  # and so Prefect, which commands that only look into the store do without

        return Runner(self.runtime, self.store.root)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        ended_well = error is None or isinstance(error, GoalReachedError)
        trained = bool(self.records.get("model", StageRecord()).refs)
        try:
            if "runner" in self.__dict__:
                self.runner.close(at_once=not ended_well)
        finally:
            self._usage.end(self.recipe_name, "done" if ended_well else "failed", trained)
        return isinstance(error, GoalReachedError)

    def use(self, *refs: ArtifactRef) -> None:
        """Say that these artifacts will be read, before looking whether they are there: `textmill gc` lets them be."""
        for stage in {ref.stage for ref in refs}:
            self.use_keys(stage, [ref.key for ref in refs if ref.stage == stage])

    def use_keys(self, stage: str, keys: Collection[str]) -> None:
        """The same of artifacts that may not be built yet."""
        self._usage.use(self.recipe_name, stage, keys)

    def record(self, stage: Stage) -> StageRecord:
        return self.records.setdefault(stage, StageRecord())

    def finish(self, stage: Stage) -> None:
        """Say that `stage` is done; raises GoalReachedError if it was the last one wanted."""
        if self.until is not None and STAGES.index(stage) >= STAGES.index(self.until):
            raise GoalReachedError(stage)

    def _notes_of_parts(self) -> list[str]:
        """The warnings of everything that was made or reused, as their manifests have them."""
        refs = [ref for record in self.records.values() for ref in record.refs]
        return [f"{ref.stage} {ref.name}: {note}" for ref in refs for note in self.store.manifest(ref).notes]

    def summary(self) -> dict[str, Any]:
        """What `--json` prints: artifacts, cached and seconds by stage, and metrics."""
        return {
            "recipe": self.recipe_name,
            "artifacts": {stage: [str(ref) for ref in record.refs] for stage, record in self.records.items()},
            "cached": {stage: record.built == 0 for stage, record in self.records.items()},
            "seconds": {stage: round(record.seconds, 3) for stage, record in self.records.items()},
            "metrics": self.metrics,
            "notes": [*self.notes, *self._notes_of_parts()],
            "store": self.store.where,
        }
