"""Running the trainer to its end, in less memory than it was planned for if need be.

When the kernel kills it because memory ran out, it goes on from its last checkpoint with half as many sequences per
pass. The batch stays as it is, and so does the model's key: only the order of summation changes, and with it the last
bits of the weights (and what dropout draws, where a plan has it). What the trainer can see itself, a graphics card
whose memory is used up, it mends itself (`gpt.learner`).
"""

import json
import time
from pathlib import Path
from typing import Any

from gpt.errors import GPTError
from gpt.train import STOPPED_FILE, lock
from tasks.launch import Launch
from tasks.process import POLL, OnRecord, OutOfMemoryKillError, run_gpt
from tasks.progress import watcher

HALVINGS = 6  # times that a run may be killed for want of memory


def run_trainer(job: dict[str, Any], run_dir: Path, on_record: OnRecord, launch: Launch) -> list[str]:
    """Train by `job` in `run_dir` until its result is published there; returns what to note of it.

    Raises TextmillError when the trainer fails, OutOfMemoryKillError when even single sequences are too much.
    """
    run_file = run_dir / "RUN.json"
    waiting = launch.elsewhere("gpt.train", run_file)
    training, kills, limit = job["training"], 0, job["runtime"].get("micro_batch")
    notes: list[str] = []
    most = -(-training["batch_size"] // (launch.processes * launch.nodes))  # rows of a process
    while True:
        changed = {"run_dir": str(run_dir), "runtime": job["runtime"] | {"micro_batch": limit}}
        run_file.write_text(json.dumps(job | changed, indent=1, sort_keys=True) + "\n")
        if waiting is not None:
            launch.announce(run_dir)
            watcher().note(waiting)
        files = run_dir / "train.log", run_dir / "metrics.jsonl"
        try:
            run_gpt("gpt.train", run_file, *files, on_record, launch, run_dir / STOPPED_FILE)
            return notes
        except OutOfMemoryKillError as error:
            kills += 1
            now = min(most, training["micro_batch"], limit or most)
            if now == 1 or kills > HALVINGS:
                raise OutOfMemoryKillError(_advice(now, kills)) from error
            limit = -(-now // 2)
            notes = [
                f"Memory ran out ({kills} kills by the kernel): {limit} of {training['batch_size']} sequences per pass."
            ]
            watcher().note(
                f"The kernel has killed the trainer for want of memory: it goes on from its last checkpoint with "
                f"{limit} sequences per pass in place of {now}; the batch stays at {training['batch_size']}."
            )
            wait_for_earlier_trainer(run_dir)  # the rest of several processes


def _advice(micro_batch: int, kills: int) -> str:
    how = "1 sequence per pass" if micro_batch == 1 else f"{micro_batch} sequences per pass"
    return (
        f"gpt.train was killed by the kernel for want of memory, {kills} times, in the end with {how}: lower "
        f"{'model.context, width or layers' if micro_batch == 1 else 'training.micro_batch'}, runtime.logits_gib or "
        f"runtime.workers, close what else uses memory, or raise the container's limit; then run the same again."
    )


def wait_for_earlier_trainer(run_dir: Path) -> None:
    """Let the trainer of a killed run save and leave, as it does once it has seen that its starter is gone."""
    told = False
    while True:
        try:
            lock(run_dir).close()
            return
        except GPTError:
            if not told:
                watcher().note(f"The trainer of an earlier run is still saving in {run_dir}: waiting for it.")
            told = True
            time.sleep(POLL)
