"""How much of a run is sent to Prefect's server: bounded by the run's stages, whatever the number of slots.

Each task run of Prefect's says a line at its end, and each unit says its notes and its progress: for ten thousand slots
that would be a hundred thousand rows and minutes of sending. A filter on the handlers lets through the first lines of
each stage of a run and counts the rest; the stage says at its end how many those were. What is not sent is not lost:
the notes of every unit stand in its manifest, their sum in the report, and a stage's own progress goes on.

Counted in each process by itself: units that run elsewhere are bounded there.
"""

import logging
import threading
from collections import Counter

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import PrefectConsoleHandler

LINES = 500  # of one stage of one run, up to level INFO
WARNINGS = 200  # of one stage of one run, and as many errors
BARS = 50  # progress bars on a run's page for units of one stage
RUN_LINES = 4 * LINES  # of the flow itself: two for each stage, its own progress, notes on sources
_RUNS_KEPT = 8  # whose counts are kept

Key = tuple[str, str, str]  # flow run, stage ("" for the flow itself), kind of line


class LogBounds(logging.Filter):
    """Decides once for each record, however many handlers ask."""

    def __init__(self, lines: int = LINES, warnings: int = WARNINGS, run_lines: int = RUN_LINES, bars: int = BARS):
        super().__init__()
        self.limits = {"lines": lines, "warnings": warnings, "errors": warnings, "bars": bars}
        self.run_lines = run_lines
        self.seen: Counter[Key] = Counter()
        self.runs: list[str] = []
        self.lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        by, decided = getattr(record, "textmill_sent", (None, False))
        if by is not self:
            run, stage = _origin(record)
            kind = "errors" if record.levelno > logging.WARNING else "lines"
            kind = "warnings" if record.levelno == logging.WARNING else kind
            decided = not run or self._take(run, stage, kind)
            record.textmill_sent = self, decided
        return bool(decided)

    def takes_bar(self, stage: str) -> bool:
        """Whether one more unit of a stage gets a progress bar on the run's page."""
        run, _ = _origin(None)
        return self._take(run, stage, "bars")

    def withheld(self, stage: str) -> int:
        """How many lines of a stage of the current run were not sent, since this was last asked."""
        run, _ = _origin(None)
        total = 0
        with self.lock:
            for kind, limit in self.limits.items():
                if kind != "bars" and (more := self.seen[run, stage, kind] - limit) > 0:
                    self.seen[run, stage, kind] = limit
                    total += more
        return total

    def _take(self, run: str, stage: str, kind: str) -> bool:
        limit = self.run_lines if not stage and kind == "lines" else self.limits[kind]
        with self.lock:
            if run not in self.runs:
                self._begin(run)
            self.seen[run, stage, kind] += 1
            return self.seen[run, stage, kind] <= limit

    def _begin(self, run: str) -> None:
        self.runs.append(run)
        gone = set(self.runs[:-_RUNS_KEPT])
        self.runs = self.runs[-_RUNS_KEPT:]
        for key in [key for key in self.seen if key[0] in gone]:
            del self.seen[key]


BOUNDS = LogBounds()


def bound_logs(bounds: LogBounds = BOUNDS) -> None:
    """Put these bounds, in place of others, on every handler that takes lines of a run; again it changes nothing."""
    loggers = map(logging.getLogger, ("prefect.flow_runs", "prefect.task_runs", "prefect.extra"))
    handlers = [handler for logger in loggers for handler in logger.handlers]
    handlers += [handler for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)]
    for handler in handlers:
        if bounds not in handler.filters:
            handler.filters = [one for one in handler.filters if not isinstance(one, LogBounds)] + [bounds]


def _origin(record: logging.LogRecord | None) -> tuple[str, str]:
    """Flow run and stage of a record, or of where we are; a task run of ours is named `STAGE ...` or `STAGE: ...`."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    run = getattr(record, "flow_run_id", None) or (flow.flow_run.id if flow and flow.flow_run else None)
    if run is None and task is not None:
        run = task.task_run.flow_run_id
    name = getattr(record, "task_run_name", None) or (task.task_run.name if task is not None else "")
    stage, space, _ = str(name).partition(" ")
    if name and not space:  # not named yet: Prefect's own name for it, which ends in something random
        stage = getattr(record, "task_name", None) or stage
    return str(run or ""), stage.rstrip(":")
