"""Runs of a tiny recipe that are traced, and killed at a chosen write, in any of their processes.

Importing Prefect takes longer than such a run, so a `Runner` is a process that has imported everything and forks for
each run; `python -m tests.kill_harness` is that process. The runs share one Prefect server.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.store import Store
from tests.kill_hook import sitecustomize

PROJECT = Path(__file__).resolve().parents[1]
HOOK = Path(sitecustomize.__file__).parent
STAGES = ("raw", "documents", "duplicates", "corpus", "overlap")
STAGES += ("tokenizer", "tokens", "plan", "model", "evaluation", "samples", "report")
STAGE_OF_REF = {"ledgers": "raw", "looks": "raw", "fetched": "documents", "prepared": "tokens"}


def write_texts(folder: Path) -> None:
    """A few texts of made-up but repetitive sentences, in two slots of the source."""
    draw = random.Random(7)
    words = (
        "the",
        "cat",
        "dog",
        "sees",
        "a",
        "house",
        "tree",
        "and",
        "runs",
        "to",
        "under",
        "my",
        "old",
        "very",
        "slowly",
    )
    folder.mkdir()
    for number in range(8):
        sentences = (" ".join(draw.choices(words, k=9)).capitalize() + "." for _ in range(40))
        (folder / f"{number}.txt").write_text("\n\n".join(sentences) + "\n")
    (folder / "8.txt").write_text((folder / "1.txt").read_text())  # a duplicate


def recipe(texts: Path) -> dict[str, Any]:
    """The recipe that all runs have in common."""
    return {
        "name": "tiny",
        "sources": {"texts": {"kind": "folder", "path": str(texts), "slot_bytes": 10_000}},
        "split": {"passage_bytes": 200, "max_whole_bytes": 400, "min_passages": 4},
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "model": {"preset": "modern", "layers": 1, "width": 16, "heads": 1, "context": 16},
        "training": {"steps": 6, "batch_size": 2, "evaluation_every": 3},
        "sampling": {"prompts": ["The "], "tokens": 4},
        "evaluation": {"resamples": 10},
    }


@dataclass(frozen=True)
class Write:
    """One traced write: which process was about to do what, for the `nth` time in its life."""

    role: str
    event: str
    path: str  # below the store's root, what is random in it blotted out
    nth: int

    @property
    def stage(self) -> str:
        """The stage that the write belongs to; empty for folders that all stages share."""
        parts = self.path.split("/")
        if parts[0] == "refs":
            return STAGE_OF_REF.get(parts[1], "") if len(parts) > 1 else ""
        name = parts[1].rpartition("-")[0] if parts[0] == "work" and len(parts) > 1 else parts[0]
        return name if name in STAGES else ""


@dataclass(frozen=True)
class Kill:
    """End `victim` (the process that writes, its starter, or both) at a write, or `delay` seconds after it."""

    at: Write
    victim: str = "self"
    delay: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code (negative: a signal), what it wrote, what it printed, ids of its processes."""

    code: int
    writes: list[Write]
    hit: bool  # whether the kill came about
    output: str
    processes: set[int]
    trace: Path  # grows as long as one of the processes is there


class Runner:
    """Runs the recipe as often as asked, one run at a time. `with Runner(...) as runner: runner.run(store)`."""

    def __init__(self, folder: Path, texts: Path, api: str) -> None:
        folder.mkdir()
        self.folder, self.texts, self.runs = folder, texts, 0
        environment = os.environ | {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "prefect")}
        environment["PYTHONPATH"] = os.pathsep.join([str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kill_harness"],
            cwd=PROJECT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    @property
    def next_log(self) -> Path:
        """Where the next run will print to."""
        return self.folder / f"{self.runs + 1:03d}.log"

    def run(
        self, root: Path, kill: Kill | None = None, until: str | None = None, after: float | None = None
    ) -> Outcome:
        """One run on the store at `root`; returns when its first process has ended, whatever else is still there.

        With `after`, that process is killed so many seconds after its start, wherever it is then.
        """
        return self._run([self._job(root, kill, until, after)])[0]

    def run_together(self, root: Path, *after: float | None) -> list[Outcome]:
        """As many runs at once on one store; those with a time are killed so many seconds after their start."""
        return self._run([self._job(root, None, None, seconds) for seconds in after])

    def _job(self, root: Path, kill: Kill | None, until: str | None, after: float | None) -> dict[str, Any]:
        log = self.next_log
        trace = log.with_suffix(".trace")
        trace.touch()
        log.touch()  # which a process that is killed at its start never opens
        self.runs += 1
        asked = asdict(kill.at) | {"victim": kill.victim, "delay": kill.delay} if kill else None
        hook = {"root": str(root), "trace": str(trace), "kill": asked}
        job = {"hook": json.dumps(hook), "log": str(log), "recipe": recipe(self.texts), "store": str(root)}
        return job | {"until": until, "after": after}

    def _run(self, jobs: list[dict[str, Any]]) -> list[Outcome]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        return [_outcome(code, Path(job["log"])) for code, job in zip(codes, jobs, strict=True)]


def _outcome(code: int, log: Path) -> Outcome:
    trace = log.with_suffix(".trace")
    records = read_trace(trace)
    return Outcome(
        code,
        [Write(*(record[name] for name in ("role", "event", "path", "nth"))) for record in records],
        any(record["hit"] for record in records),
        log.read_text(),
        {record["pid"] for record in records},
        trace,
    )


def read_trace(path: Path) -> list[dict[str, Any]]:
    """Every write that the hook noted, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def payloads(root: Path) -> dict[str, str]:
    """{stage/key: payload digest} of everything published."""
    return {f"{m.recipe.stage}/{m.key}": m.payload_digest for m in Store(root).manifests()}


def damages(root: Path) -> list[str]:
    """Whatever is wrong with a store after a run that ended well: damage, and anything left in its work folder."""
    found = [f"{damage.where}: {damage.problem}" for damage in Store(root).verify()]
    return found + [f"left over: {path}" for path in (root / "work").rglob("*")]


def wait_until_gone(processes: set[int], seconds: float) -> set[int]:
    """The processes that are still there after so many seconds, or earlier none."""
    deadline = time.monotonic() + seconds
    while processes := {pid for pid in processes if _is_running(pid)}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return processes


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def serve() -> None:
    """Fork for every job of a list that comes on stdin; answer with their exit codes."""
    from flows.settings import prepare_prefect, quieten_prefect

    prepare_prefect()
    quieten_prefect()
    import awkward  # noqa: F401 - what stages import on their way, once for all runs
    import gigatoken  # noqa: F401
    import pandas  # noqa: F401

    import tasks.pictures  # noqa: F401
    from flows.console import console_watcher
    from flows.pipeline import pipeline
    from flows.recipe import Recipe
    from tasks.progress import watch_with
    from tasks.runtime import Runtime

    def run(job: dict[str, Any]) -> None:
        with console_watcher() as watcher, watch_with(watcher):
            pipeline(
                recipe=Recipe.model_validate(job["recipe"]),
                until=job["until"],
                runtime=Runtime(store=job["store"], device="cpu", threads=1, workers=1, checkpoint_seconds=0),
            )

    for line in sys.stdin:
        children = []
        for job in json.loads(line):
            child = os.fork()
            if not child:
                _become(job)
                run(job)
                os._exit(0)
            children.append(child)
            if job["after"] is not None:
                _kill_later(child, job["after"])
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


def _kill_later(child: int, seconds: float) -> None:
    """Kill a child of ours at its time, by a process that forks with no thread beside it; one that has ended stays."""
    killer = os.fork()
    if killer:
        return
    handle = os.pidfd_open(child)  # which never means another process that has the same number later
    if not select.select([handle], [], [], seconds)[0]:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os._exit(0)


def _become(job: dict[str, Any]) -> None:
    """Make this process the first one of a run: its output into a file, the hook in place, for its children, too."""
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.environ["TEXTMILL_KILL_HOOK"] = job["hook"]
    sitecustomize.arm(job["hook"])


if __name__ == "__main__":
    serve()
