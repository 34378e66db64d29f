"""What a run tells while it works: stages starting, units moving, stages ending. Who listens is settled elsewhere.

`watch_with` puts a listener in place for everything below it in this process; without one, progress goes to the log of
the Prefect run, sparsely.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import get_run_context
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from tasks.log_bounds import BOUNDS

SHOW_EVERY = 2.0  # seconds between two moves of a progress bar on the run's page
LOG_EVERY = 15.0  # seconds between two progress lines in a log, at first
LOG_SHARE = 0.02  # of the time that a unit has taken so far, when that is longer: a week comes to some 400 lines


class Watcher(Protocol):
    """Hears of a run's progress; called from several threads. A stage as a whole has the label ""."""

    def started(self, stage: str, units: int) -> None: ...

    def progress(self, stage: str, label: str, done: float, total: float, unit: str, note: str) -> None: ...

    def built(self, stage: str, label: str) -> None: ...

    def finished(self, stage: str, reused: int, built: int, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass
class LogWatcher:
    """Progress as log lines of the run, at most one in `LOG_EVERY` seconds for each unit, and rarer in a long one."""

    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    shown: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, UUID] = field(default_factory=dict)

    def started(self, stage: str, units: int) -> None:
        self.note(f"{stage}: {units} to look up")

    def progress(self, stage: str, label: str, done: float, total: float, unit: str, note: str) -> None:
        now = time.monotonic()
        key = f"{stage} {label}".strip()
        if total and now - self.shown.get(key, 0.0) >= SHOW_EVERY:
            self._show(stage, key, 100 * done / total, now)
        pause = max(LOG_EVERY, LOG_SHARE * (now - self.first.setdefault(key, now)))
        if now - self.last.setdefault(key, now) >= pause:
            self.last[key] = now
            share = f"{100 * done / total:.0f}%, " if total else ""
            self.note(f"{key}: {share}{done:,.0f} {unit}{', ' + note if note else ''}")

    def built(self, stage: str, label: str) -> None:
        if (key := f"{stage} {label}".strip()) in self.artifacts:
            self._show(stage, key, 100.0, time.monotonic())

    def finished(self, stage: str, reused: int, built: int, seconds: float) -> None:
        self.note(f"{stage}: {reused} of {reused + built} reused, {seconds:.1f} s")
        if more := BOUNDS.withheld(stage):
            self.note(f"{stage}: and {more:,} more lines, which were not sent; notes of parts are in the report")

    def note(self, text: str) -> None:
        run_logger().info(text)

    def _show(self, stage: str, key: str, percent: float, now: float) -> None:
        """Move the progress bar on the run's page, of a stage or one of its first units.

        Prefect is a guest here: when it does not take it, work goes on.
        """
        try:
            get_run_context()
        except MissingContextError:
            return  # a library called us from a thread of its own, which Prefect cannot tell apart from no run
        if key not in self.artifacts and key != stage and key not in self.shown and not BOUNDS.takes_bar(stage):
            self.shown[key] = float("inf")
            return
        self.shown[key] = now
        try:
            if key not in self.artifacts:
                created = create_progress_artifact(percent, description=key)
                if isinstance(created, UUID):
                    self.artifacts[key] = created
            else:
                update_progress_artifact(self.artifacts[key], progress=percent)
        except Exception as error:
            run_logger().warning("Prefect did not take the progress of %s: %s", key, error)
            self.shown[key] = float("inf")


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watch_with(watcher: Watcher) -> Iterator[None]:
    """Everything in this context reports to `watcher`."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def watcher() -> Watcher:
    """Whom to tell, now."""
    return _watcher.get() or LogWatcher()


def run_logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The logger of the Prefect run we are in, or an ordinary one outside of any."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("textmill")
