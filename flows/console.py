"""A run at the terminal: live progress while it works, a few lines at its end. Everything goes to stderr, so that
stdout holds only what a program may read."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_EVERY = 5.0  # seconds between two progress lines of a unit when stderr is no terminal


class ConsoleWatcher:
    """Shows stages as they end and units as they move: live on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console, live: Progress | None) -> None:
        self.console, self.live = console, live
        self.bars: dict[str, int] = {}
        self.first: dict[str, tuple[float, float]] = {}  # unit -> (time, amount) of its first word
        self.last: dict[str, float] = {}
        self.lock = threading.Lock()

    def started(self, stage: str, units: int) -> None:
        with self.lock:
            self.first.clear()

    def progress(self, stage: str, label: str, done: float, total: float, unit: str, note: str) -> None:
        key = f"{stage} {label}".strip()
        now = time.monotonic()
        with self.lock:
            since, amount = self.first.setdefault(key, (now, done))
            rate = (done - amount) / (now - since) if now > since else 0.0
            text = _describe(done, total, unit, rate, note)
            if self.live is not None:
                if key not in self.bars:
                    self.bars[key] = self.live.add_task(escape(key), total=total or None, text="")
                self.live.update(self.bars[key], completed=done, total=total or None, text=escape(text))  # type: ignore[arg-type]
            elif now - self.last.get(key, since) >= PLAIN_EVERY:
                self.last[key] = now
                self.console.print(f"  {escape(key)}: {escape(text)}", highlight=False)

    def built(self, stage: str, label: str) -> None:
        with self.lock:
            bar = self.bars.pop(f"{stage} {label}".strip(), None)
            if self.live is not None and bar is not None:
                self.live.remove_task(bar)  # type: ignore[arg-type]

    def finished(self, stage: str, reused: int, built: int, seconds: float) -> None:
        state = "[cyan]Cached[/]" if not built else "[green]built[/] "
        self.console.print(
            f"{state}  {stage:<11} {reused} of {reused + built} reused  {seconds:6.1f} s", highlight=False
        )

    def note(self, text: str) -> None:
        self.console.print(f"        [dim]{escape(text)}[/]", highlight=False)


@contextmanager
def console_watcher() -> Iterator[ConsoleWatcher]:
    """A watcher on stderr, with live bars if that is a terminal."""
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        yield ConsoleWatcher(console, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as live:
        yield ConsoleWatcher(console, live)


def _describe(done: float, total: float, unit: str, rate: float, note: str) -> str:
    parts = [f"{done:,.0f} of {total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"]
    if rate > 0:
        parts.append(f"{rate:,.1f} {unit}/s" if rate < 100 else f"{rate:,.0f} {unit}/s")
        if total > done:
            minutes, seconds = divmod(round((total - done) / rate), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join([*parts, *([note] if note else [])])
