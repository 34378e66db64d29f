"""Starting a command of the gpt floor and living with it: progress out of its metrics, cancellation into it.

The child (torchrun, where several processes train) runs in a session of its own, so that a Ctrl-C at the terminal
reaches only us, and holds the reading end of a pipe: when we die, however we die, the pipe ends and the child saves
what it can and leaves. Torch never enters this process.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data.errors import TextmillError
from gpt.command import GENTLE_THREADS
from tasks.launch import Launch
from tasks.progress import watcher

POLL = 0.25  # seconds between two looks at the child
GRACE = 25.0  # seconds that a child gets to save before it is killed; Prefect's worker gives us 30
STOPPED = 75  # exit code of a trainer that was asked to stop and has saved

KERNEL_COUNTS = Path("/proc/vmstat")  # Linux: `oom_kill` counts what the kernel has killed for want of memory
SHORT_OF_MEMORY = "was killed by the kernel for want of memory: lower"

_KNOWN = re.compile(r"step \d+/\d+ |Finished")  # lines of a trainer that say what metrics and stage say anyway
_TORCHRUN = re.compile(r"\W|[IWEF]\d{4} |Traceback |torch\.|Failures:|Root Cause|$")  # lines of its, not of a trainer
_RANK_KILLED = re.compile(r"exitcode *: -9\b|Signal 9 \(SIGKILL\)")  # what torchrun says of one of its processes
ONE = Launch()
OnRecord = Callable[[dict[str, Any]], None]


class OutOfMemoryKillError(TextmillError):
    """The kernel has killed the command, or one of its processes, because memory ran out."""


def run_gpt(
    module: str,
    job: Path,
    log: Path,
    metrics: Path | None = None,
    on_record: OnRecord | None = None,
    launch: Launch = ONE,
    stopped: Path | None = None,
) -> None:
    """Run `python -m MODULE JOB`, hand every new line of `metrics` (JSON lines) to `on_record`, and wait for its end.

    `launch` may make it several processes. The command below which they run hides their exit codes, so what says that
    they were stopped and have saved is a file that they leave: `stopped`.

    What the child prints is appended to `log`; a trainer's words, but not its steps, are told to the watcher, too. If
    this thread is interrupted (Ctrl-C, Prefect's cancellation), the child is asked to save and stop, and the
    interruption goes on. Raises TextmillError with the child's last words when it fails, OutOfMemoryKillError when it
    was killed while the kernel counted a kill for want of memory.
    """
    killed_before = memory_kills()
    reading, writing = os.pipe()
    try:
        argv = [*launch.argv(module), str(job), "--watch-fd", str(reading)]
        if stopped is not None:
            stopped.unlink(missing_ok=True)
        with log.open("ab") as output:
            started_at = output.tell()
            child = subprocess.Popen(
                argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                pass_fds=(reading,), start_new_session=True, env=GENTLE_THREADS | launch.environment() | os.environ,
            )  # fmt: skip
        try:
            _wait(child, log, started_at, metrics, on_record, launch)
        except BaseException:
            _stop(child)
            raise
    finally:
        os.close(reading)
        os.close(writing)
    if child.returncode:
        has_saved = stopped is not None and stopped.exists()
        code = STOPPED if has_saved else child.returncode
        lines = log.read_bytes()[started_at:].decode("utf-8", "replace").strip().splitlines()
        was_killed = _was_killed(code) or (not launch.is_one and any(_RANK_KILLED.search(line) for line in lines))
        killed_since = memory_kills()
        if was_killed and None not in (killed_before, killed_since) and killed_before != killed_since:
            raise OutOfMemoryKillError(f"{module} {SHORT_OF_MEMORY} training.micro_batch, then run again.")
        raise TextmillError(_last_words(module, code, lines, killed_since is not None))


def memory_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since this machine started; None if it does not say.

    Limits of containers count as well.
    """
    try:
        counts = KERNEL_COUNTS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in counts if line.startswith("oom_kill ")), None)


def _was_killed(code: int) -> bool:
    return code in (-signal.SIGKILL, 128 + signal.SIGKILL)


def _wait(
    child: subprocess.Popen[bytes],
    log: Path,
    printed: int,
    metrics: Path | None,
    on_record: OnRecord | None,
    launch: Launch,
) -> None:
    said = _Tail(log, printed)
    measured = _Tail(metrics, metrics.stat().st_size if metrics.exists() else 0) if metrics else None
    while True:
        running = child.poll() is None
        for line in said.lines():
            if metrics is not None and not _KNOWN.match(line) and (launch.is_one or not _TORCHRUN.match(line)):
                watcher().note(line)
        for line in measured.lines() if measured and on_record else ():
            with contextlib.suppress(ValueError):  # the middle of a line, where a resumed trainer cut the file back
                on_record(json.loads(line))  # type: ignore[misc]
        if not running:
            return
        time.sleep(POLL)


class _Tail:
    """The whole lines that were added to a file since the last look; follows a file that is cut shorter."""

    def __init__(self, path: Path, position: int) -> None:
        self.path, self.position = path, position

    def lines(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as file:
                self.position = min(self.position, file.seek(0, os.SEEK_END))
                file.seek(self.position)
                added = file.read()
        except FileNotFoundError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        self.position += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            if line.strip():
                yield line


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ask the child's process group to save and stop, and kill what has not gone after `GRACE`."""
    _signal(child, signal.SIGTERM)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.poll() is None:
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return  # it ended between our look and our signal


def _last_words(module: str, code: int, lines: Sequence[str], kernel_counts: bool) -> str:
    """`kernel_counts`: the kernel tells of kills for want of memory, and there was none."""
    complaints = [line for line in lines if line.startswith(f"{module}: ")]  # of several processes the first knows why
    said = complaints[0] if complaints else lines[-1] if lines else "it said nothing"
    if code == STOPPED:
        said = next((line for line in reversed(lines) if line.startswith("Stopped")), said)
    if code == STOPPED:
        return f"{module} was stopped from outside and has saved: run the same command to go on. ({said})"
    if _was_killed(code) and kernel_counts:
        return f"{module} was killed, not by the kernel: run the same command to go on from its checkpoint. ({said})"
    if _was_killed(code):
        return (
            f"{module} was killed, as the kernel does when memory runs out: lower training.micro_batch, then run again."
        )
    if code < 0:
        name = signal.Signals(-code).name
        return f"{module} ended by {name}: run the same command to go on from its checkpoint. ({said})"
    return said if said.startswith(module) else f"{module} failed with exit code {code}: {said}"
