"""A toy stage for the tests of the store, and processes that use a store at the same time.

`python -m tests.store_toys WHAT ROOT LOG` is one such process. It says `ready` on stdout when it has come to the point
that the test waits for; what it did it appends to LOG, one line a deed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.facts import Facts
from data.housekeeping.claims import collection
from data.housekeeping.collecting import carry_out, plan
from data.housekeeping.lineage import Lineage
from data.housekeeping.usage import Usage
from data.locks import owner_lock
from data.manifest import Identity
from data.refs import RefMovedError, Refs
from data.store import Build, Store
from tests.kill_hook import sitecustomize

PROJECT = Path(__file__).resolve().parents[1]


def toy(number: int = 0, stage: str = "toy") -> Identity:
    """One identity for each number."""
    return Identity(stage, 1, {"number": number}, {"raw": "d" * 64}, {"library": "1.0"})


def fill(build: Build, text: str = "some text") -> Facts:
    """A payload with a folder in it, a Parquet file, and something observed."""
    (build.out / "deep" / "er").mkdir(parents=True)
    (build.out / "deep" / "er" / "data.bin").write_bytes(text.encode())
    pq.write_table(pa.table({"text": [text, None, ""], "lists": [["a"], [], None]}), build.out / "table.parquet")
    (build.observed / "metrics.jsonl").write_text('{"loss": 1.5}\n')
    return Facts({"documents": 3, "share": 0.5}, ["CC0", "CC0"], ["a note"], {"more": [1, None]})


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder that is a file, by its path inside."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def in_work(store: Store) -> list[str]:
    """What lies in the store's work folder."""
    return sorted(path.name for path in (store.root / "work").glob("*"))


def published(store: Store) -> list[str]:
    """Every artifact as it lies in the store, whole or not."""
    stages = [path for path in store.root.glob("*") if path.name not in ("work", "refs")]
    return sorted(f"{stage.name}/{path.name}" for stage in stages for path in stage.glob("*"))


def start(what: str, root: Path, log: Path) -> subprocess.Popen[str]:
    """Start a process of this module."""
    argv = [sys.executable, "-m", "tests.store_toys", what, str(root), str(log)]
    return subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Return once the process has said `ready`."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def note(log: Path, line: str) -> None:
    """Append a line at once; lines of several processes never mix."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def ready() -> None:
    print("ready", flush=True)


def build_slowly(root: Path, log: Path) -> None:
    """Build toy 0, taking a moment, and note that its function ran and what came of it."""

    def make(build: Build) -> Facts:
        note(log, "made")
        time.sleep(0.3)
        return fill(build)

    note(log, str(Store(root).build(toy(), f"by-{os.getpid()}", make)))


def hold_with_half_a_payload(root: Path, log: Path) -> None:
    """Come half-way with toy 0, as a killed trainer does: with a child process of its own still running."""

    def make(build: Build) -> Facts:
        (build.keep / "half.txt").write_text("half")
        (build.out / "half.bin").write_bytes(b"half")
        child = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)
        note(log, str(child.pid))
        ready()
        time.sleep(60)
        return Facts()

    Store(root).build(toy(), "held", make)


def hold_without_keeping(root: Path, log: Path) -> None:
    """Come half-way with toy 1 without anything worth keeping."""

    def make(build: Build) -> Facts:
        (build.out / "half.bin").write_bytes(b"half")
        ready()
        time.sleep(60)
        return Facts()

    Store(root).build(toy(1), "held", make)


def count_under_lock(root: Path, log: Path) -> None:
    """Add 1 to a number in a file 20 times, in two steps that only a lock keeps together."""
    for _ in range(20):
        with owner_lock(root / "lock"):
            number = int(log.read_text())
            time.sleep(0.001)
            log.write_text(str(number + 1))


def hold_lock(root: Path, log: Path) -> None:
    """Hold a lock until killed."""
    with owner_lock(root / "lock"):
        ready()
        time.sleep(60)


def hold_run(root: Path, log: Path) -> None:
    """Use the raw artifact whose key LOG holds, until killed."""
    used = Usage(Store(root))
    used.use("toy", "raw", [log.read_text()])
    ready()
    time.sleep(60)
    used.end("toy", "done", trained=False)


def collect_until_killed(root: Path, log: Path) -> None:
    """Remove everything, and be killed when as many artifacts are gone as LOG says, and one more lies aside."""
    left, rmtree = int(log.read_text()), shutil.rmtree

    def remove(path: Path) -> None:
        nonlocal left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        rmtree(path)

    shutil.rmtree = remove  # type: ignore[assignment]
    lineage = Lineage(Store(root))
    carry_out(lineage, plan(lineage, []), list)


def hold_collection(root: Path, log: Path) -> None:
    """Clean up, and be about to remove an artifact until killed."""
    with collection(Store(root)) as claim:
        claim.take(["a" * 16])
        ready()
        time.sleep(60)


def swap_ten_times(root: Path, log: Path) -> None:
    """Add 1 to a value ten times by compare-and-swap, noting the token that each success replaced."""
    refs = Refs(root)
    done = 0
    while done < 10:
        seen = refs.read("counter")
        try:
            refs.swap("counter", seen.token, (seen.value or 0) + 1)
        except RefMovedError:
            continue
        note(log, f"{seen.token}")
        done += 1


def replace_killed_everywhere(root: Path, log: Path) -> None:
    """Copy the store `root/begun` to `root/0`, `root/1`..., build toy 0 in each again, and be killed at another one of
    its writes every time, which LOG names."""
    trace = log.with_suffix(".trace")

    def again(place: Path, kill: dict[str, Any] | None) -> None:
        shutil.copytree(root / "begun", place)
        child = os.fork()
        if not child:
            sitecustomize.arm(json.dumps({"root": str(place), "trace": str(trace), "kill": kill}))
            Store(place).build(toy(), "another-name", partial(fill_with_text, text="new"), refresh=True)
            os._exit(0)
        os.waitpid(child, 0)

    again(root / "traced", None)
    writes = [json.loads(line) for line in trace.read_text().splitlines()]
    for number, write in enumerate(writes):
        again(root / str(number), write | {"victim": "self", "delay": 0})
        note(log, f"{write['event']} {write['path']}")


def fill_with_text(build: Build, text: str) -> Facts:
    """A payload that needs no library."""
    for name in ("a.txt", "b.txt"):
        (build.out / name).write_text(text)
    return Facts()


def write_too_much(root: Path, log: Path) -> None:
    """Build toy 0 where no file may grow over 100 kB; note how that ended."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    def make(build: Build) -> Facts:
        (build.out / "data.bin").write_bytes(bytes(200_000))
        return Facts()

    try:
        Store(root).build(toy(), "big", make)
    except Exception as error:
        note(log, f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
