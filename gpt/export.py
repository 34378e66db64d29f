"""Publishing a finished run: `final/` with the model and its state, and summary.json. Knows no training."""

import json
import shutil
from typing import Any

import torch

from gpt.checkpoint import Checkpoint, write_state
from gpt.files import publish_directory, replace_text
from gpt.jobs import RunJob
from gpt.metrics import read_lines
from gpt.weights import save_model


def publish_result(job: RunJob, best: dict[str, torch.Tensor], checkpoint: Checkpoint, summary: dict[str, Any]) -> None:
    """Write summary.json and then `final/` in one rename: whoever sees `final/` finds all of it.

    best        state dict of the best weights, exported as the model
    checkpoint  of the last step; goes to final/state without its observed part, so that equal runs give equal bytes
    summary     numbers of the run; the training loss is added from the metrics
    """
    final = job.run_dir / "final"
    partial = job.run_dir / ".partial-final"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "state").mkdir(parents=True)
    save_model(partial, job.model, best)
    write_state(partial / "state", checkpoint, job.identity())
    summary = summary | {"train_loss": final_train_loss(job, summary["steps"])}
    replace_text(job.run_dir / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    publish_directory(partial, final)


def final_train_loss(job: RunJob, steps_done: int) -> float | None:
    """The mean training loss over (about) the last twentieth of the steps done, weighted by steps, from the metrics."""
    lines = [line for line in read_lines(job.run_dir / "metrics.jsonl") if line["kind"] == "train"]
    total, steps = 0.0, 0
    for before, line in zip([{"step": 0}, *lines], lines, strict=False):
        if line["step"] > 0.95 * steps_done and line["loss"] is not None:
            total += line["loss"] * (line["step"] - before["step"])
            steps += line["step"] - before["step"]
    return total / steps if steps else None
