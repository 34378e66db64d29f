"""What a whole training run spends besides its updates: metrics, validation, samples and checkpoints."""

import statistics
import time
from pathlib import Path

import numpy as np
import torch

from gpt.arrays import TokenShard
from gpt.config import ModelConfig, TrainingConfig
from gpt.jobs import RunJob, Runtime, ShardPaths, SourceArrays
from gpt.metrics import read_lines
from gpt.plan import resolve
from gpt.stop import Stop
from gpt.trainer import Trainer

ROUNDS, ROUND_STEPS = 3, 5


def overhead_share(
    folder: Path,
    model: ModelConfig,
    training: TrainingConfig,
    vocab_size: int,
    train: TokenShard,
    validation: TokenShard,
    device: torch.device,
) -> float:
    """How much longer a step takes in a whole run than a bare update of the same learner, as a share of the latter.

    The run is one of `gpt.trainer` below `folder`, with its usual validations, and checkpoints every 30 s; its diary
    tells the time from the second line of steps to the last. At least three must be logged.
    """
    shape, plan = resolve(model, training, vocab_size, len(train.tokens), len(validation.tokens))
    np.save(folder / "token_bytes.npy", np.ones(vocab_size, np.int32))
    job = RunJob(
        run_dir=folder / "run",
        model=shape,
        training=plan,
        sources={"made up": SourceArrays((_save(folder, "train", train),), (_save(folder, "validation", validation),))},
        token_bytes=folder / "token_bytes.npy",
        eot_id=0,
        tokenizer_digest="made up",
        data_digest="made up",
        runtime=Runtime(device="cuda" if device.type == "cuda" else "cpu"),
    )
    trainer = Trainer(job, Stop(), lambda line: None)
    trainer.run()
    lines = [line for line in read_lines(folder / "run" / "metrics.jsonl") if line["kind"] == "train"]
    first, last = lines[1], lines[-1]  # TensorBoard is loaded behind the first
    step_of_run = (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
    learner = trainer.learner
    learner.start_over()
    learner.update().item()
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(ROUND_STEPS):
            norm = learner.update()
        norm.item()  # waits for the device
        times.append((time.perf_counter() - begin) / ROUND_STEPS)
    return max(0.0, step_of_run / statistics.median(times) - 1)


def _save(folder: Path, name: str, shard: TokenShard) -> ShardPaths:
    paths = ShardPaths(folder / f"{name}.npy", folder / f"{name}.documents.npy")
    np.save(paths.tokens, shard.tokens)
    np.save(paths.documents, shard.starts)
    return paths
