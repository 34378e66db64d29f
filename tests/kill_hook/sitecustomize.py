"""Traces what a process writes below a store, and kills at a chosen write. Every Python process that is started with
this folder on PYTHONPATH loads it; without TEXTMILL_KILL_HOOK in the environment it does nothing.

TEXTMILL_KILL_HOOK is JSON: {"root": folder, "trace": file, "kill": null or {"role", "event", "path", "nth", "victim",
"delay"}}. A write is an audit event of the interpreter that comes just before something is created, opened for
writing, renamed or removed. It is told apart by the process's role, the event, the path below the root with what is
random in it blotted out, and how often this process has come there before.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

NOTICING = 0.5  # seconds for an orphan to see that it is one: tiny runs would end before they look
_EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RANDOM = [
    (re.compile(r"-[0-9a-f]{8}(?![0-9a-f])"), "-*"),  # the passing names of data/files.py
    (re.compile(r"[0-9a-f]{32}\.json"), "*.json"),  # snapshots of data/refs.py, where they hold a time
    (re.compile(r"tfevents\..*"), "tfevents.*"),  # time, host and process
]


def arm(settings: str) -> None:
    """Start tracing, and killing if asked to, in this process."""
    asked = json.loads(settings)
    root = f"{Path(asked['root']).resolve()}/"
    kill = asked["kill"]
    trace = os.open(asked["trace"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    role, starter = _role(), os.getppid()
    seen: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    def hook(event: str, args: tuple[object, ...]) -> None:
        path = _written(event, args)
        if path is None or not path.startswith(root):
            return
        path = path[len(root) :]
        for pattern, blot in _RANDOM:
            path = pattern.sub(blot, path)
        with lock:
            seen[event, path] += 1
            nth = seen[event, path]
        record = {"role": role, "event": event, "path": path, "nth": nth, "pid": os.getpid(), "time": time.monotonic()}
        hit = kill is not None and all(record[key] == kill[key] for key in ("role", "event", "path", "nth"))
        os.write(trace, (json.dumps(record | {"hit": hit}) + "\n").encode())
        if hit and kill["delay"]:
            threading.Timer(kill["delay"], _kill, (kill["victim"], starter)).start()
        elif hit:
            _kill(kill["victim"], starter)

    sys.addaudithook(hook)


def _kill(victim: str, starter: int) -> None:
    """End a process without a last word: this one, the one that started it (and wait a moment), or both."""
    if victim in ("starter", "both") and os.getppid() == starter:
        os.kill(starter, signal.SIGKILL)
    if victim in ("self", "both"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(NOTICING)


def _role() -> str:
    """`gpt.train` and the like for the commands of the gpt floor, else `flow`."""
    modules = [name for name in sys.orig_argv if name.startswith("gpt.")]
    return modules[0] if modules else "flow"


def _written(event: str, args: tuple[object, ...]) -> str | None:
    """The absolute path that an event is about to change, or None."""
    if event == "open":
        path, _, flags = args
        if not isinstance(flags, int) or not flags & _WRITING:
            return None
        return _absolute(path, None)
    if event in _EVENTS:
        folder = args[-1] if event in ("os.mkdir", "os.remove", "os.rmdir") else None
        return _absolute(args[1] if event in ("os.rename", "os.link", "os.symlink") else args[0], folder)
    return None


def _absolute(path: object, folder: object) -> str | None:
    if not isinstance(path, str | bytes | os.PathLike):
        return None  # a descriptor: its file was seen when it was opened
    place = Path(os.fsdecode(path))
    if isinstance(folder, int) and folder >= 0 and not place.is_absolute():
        try:
            place = Path(f"/proc/self/fd/{folder}").readlink() / place
        except OSError:
            return None
    return str(place.parent.resolve() / place.name)


if "TEXTMILL_KILL_HOOK" in os.environ:
    arm(os.environ["TEXTMILL_KILL_HOOK"])
