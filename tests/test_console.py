"""What a terminal and a log show of a run while it works."""

import io
import re

from rich.console import Console
from rich.progress import Progress

from flows import console as watching
from flows.console import ConsoleWatcher


def test_bars_go_when_their_unit_is_built():
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    live = Progress(console=console)
    watcher = ConsoleWatcher(console, live)
    watcher.started("documents", 3)
    watcher.progress("documents", "books 1/2", 10, 100, "bytes", "")
    watcher.progress("documents", "books 2/2", 20, 100, "bytes", "")
    watcher.progress("documents", "", 1, 2, "parts", "")
    assert [task.description for task in live.tasks] == ["documents books 1/2", "documents books 2/2", "documents"]
    assert live.tasks[1].fields["text"] == "20 of 100 bytes"
    watcher.built("documents", "books 1/2")
    assert [task.description for task in live.tasks] == ["documents books 2/2", "documents"]
    watcher.built("documents", "")
    watcher.built("documents", "books 2/2")
    watcher.built("documents", "one that was too quick to be shown")
    assert live.tasks == []


def test_elsewhere_there_are_plain_lines_with_rate_and_time_left(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    out = io.StringIO()
    watcher = ConsoleWatcher(Console(file=out, width=200), None)
    watcher.started("raw", 1)
    for _ in range(13):
        watcher.progress("raw", "books 1/1", (now - 1000) * 50, 3000, "bytes", "[not] markup")
        now += 1
    watcher.finished("raw", 2, 1, 12.0)
    lines = [re.sub(r" +", " ", line).strip() for line in out.getvalue().splitlines()]
    assert lines == [
        "raw books 1/1: 250 of 3,000 bytes, 50.0 bytes/s, 0:55 left, [not] markup",
        "raw books 1/1: 500 of 3,000 bytes, 50.0 bytes/s, 0:50 left, [not] markup",
        "built raw 2 of 3 reused 12.0 s",
    ]
