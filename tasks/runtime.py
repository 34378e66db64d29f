"""Settings that change where and how fast a run works, never what it makes: nothing here enters a key."""

import os
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

from pydantic import BaseModel, ConfigDict, Field

from data.errors import TextmillError
from data.store import Store

PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Runtime(BaseModel):
    """Where and how fast a run works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str | None = Field(
        None,
        description="Folder of the store, or s3://bucket/prefix; unset: the environment's TEXTMILL_STORE, else "
        "artifacts/ of the project.",
    )
    offline: bool = Field(
        False,
        description="Never touch the network: sources that need it stay as they were at the last look, and what was "
        "not fetched then is named.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto",
        description="Where the model runs; auto takes a CUDA card if a kernel runs on it, else the CPU; mps is Apple's "
        "GPU.",
    )
    workers: int | None = Field(None, ge=1, description="Slots worked on at once; unset: one per processor core.")
    runner: Literal["threads", "processes", "dask"] = Field(
        "threads",
        description="Where slots are worked on: threads of one process (which give heavy work to processes of their "
        "own), a pool of processes, or the workers of a Dask cluster. The last two need a Prefect server.",
    )
    dask_address: str | None = Field(
        None,
        description="Scheduler of a Dask cluster, such as tcp://10.0.0.1:8786; unset: a cluster of this machine, with "
        "as many workers as `workers` says.",
    )
    threads: int | None = Field(None, ge=1, description="Processor threads of the trainer; unset: torch's choice.")
    compile: bool = Field(True, description="Compile the training step on a GPU; false where no C compiler is at hand.")
    logits_gib: float | None = Field(
        None,
        ge=0,
        description="Memory for the logits of a training pass, in GiB, beyond which they are made in pieces; unset: an "
        "eighth of a CUDA card's, elsewhere 1 GiB.",
    )
    processes: int | None = Field(
        None,
        ge=1,
        description="Processes that train one model on this machine, one per CUDA card; unset: as many as there are "
        "cards, on the CPU 1.",
    )
    nnodes: int = Field(
        1, ge=1, description="Machines that train one model; this one is the first, and says what to start on the rest."
    )
    rendezvous: str | None = Field(
        None, description="Where several machines meet: host:port of this one, such as 10.0.0.1:29400."
    )
    track: Literal["wandb", "trackio"] | None = Field(
        None, description="Service that also gets the trainer's numbers; its package must be installed."
    )
    checkpoint_seconds: float = Field(
        20.0, ge=0, description="Time between two checkpoints of the trainer, in seconds."
    )
    max_starts: int = Field(
        5,
        ge=1,
        description="How often one flow run may be started, crashes and Prefect's retries included; then it stops.",
    )

    @property
    def worker_count(self) -> int:
        return self.workers or available_cores()


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_store(location: str | None = None) -> Store:
    """The store at `location`, else at TEXTMILL_STORE, else in the project; relative paths start at the project.

    Raises TextmillError for URLs of a kind that no store can live on.
    """
    text = location or os.environ.get("TEXTMILL_STORE") or "artifacts"
    url = urlparse(text)
    if url.scheme == "s3":
        from data.storage.location import open_bucket

        return open_bucket(text, PROJECT_ROOT)
    if url.scheme and url.scheme != "file":
        raise TextmillError(
            f"The store is a {url.scheme} URL, but stores live in local folders and in buckets of S3: "
            "set TEXTMILL_STORE (or runtime.store) to a path, a file:// URL or s3://bucket/prefix."
        )
    path = unquote(url.path) if url.scheme else text
    try:
        return Store(PROJECT_ROOT / Path(path).expanduser())
    except RuntimeError as error:  # ~somebody who does not exist
        raise TextmillError(f"The store {text!r} cannot be found: {error} Correct TEXTMILL_STORE.") from error
