"""What a kill costs a training on the CPU: work that is lost, and the time until it goes on.

`python -m tests.benchmarks.resume [--rounds N]`: a model of 10 million parameters (6 layers x 384, context 256, batch
8, Muon) is trained as a process of its own, with the default time between checkpoints. When its second checkpoint has
just come to count, it is killed with SIGKILL: what would have been lost a moment before, the most that can be, is the
time since the step of the first one. Then the same command is started again, in turns after the files of its
environment were taken out of the system's file cache ("cold"; those that another process has mapped stay there) and as
it is ("warm"). Counted is from the start of the process to the beginning of its first update, and to that update's end.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import safetensors
import torch

import gpt
from gpt.arrays import open_shard
from gpt.config import ModelConfig, TrainingConfig
from gpt.jobs import Runtime
from gpt.plan import matrix_parameters, resolve
from tests.benchmarks.table import print_table
from tests.benchmarks.training_step import made_up_tokens

SHAPE = ModelConfig(layers=6, width=384, context=256, dropout=0.0)
PLAN = TrainingConfig(steps=100_000, batch_size=8, log_every=1, evaluation_every=100_000)
VOCABULARY = 65


def write_job(folder: Path) -> Path:
    """RUN.json with its arrays."""
    paths = made_up_tokens(folder, VOCABULARY)
    tokens = len(open_shard(paths, 0).tokens)
    model, training = resolve(SHAPE, PLAN, VOCABULARY, tokens)
    np.save(folder / "bytes.npy", np.array([0] + [1] * (VOCABULARY - 1), np.int32))
    job = {
        "run_dir": str(folder / "run"),
        "model": dataclasses.asdict(model),
        "training": dataclasses.asdict(training),
        "sources": {"made-up": {"train": [{"tokens": str(paths.tokens), "documents": str(paths.documents)}]}},
        "token_bytes": str(folder / "bytes.npy"),
        "eot_id": 0,
        "tokenizer_digest": "made up",
        "data_digest": "made up",
        "runtime": {"device": "cpu"},
    }
    path = folder / "RUN.json"
    path.write_text(json.dumps(job))
    return path


def start(job: Path) -> subprocess.Popen[str]:
    """The trainer as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "gpt.train", str(job)], stdout=subprocess.PIPE, text=True)


def train_and_kill(job: Path, run_dir: Path) -> tuple[float, int]:
    """Seconds of work lost, and the step that is left."""
    process = start(job)
    checkpoints, ends = run_dir / "checkpoints", {0: time.time()}

    def listen() -> None:
        for line in process.stdout or ():
            if line.startswith("step "):
                ends[int(line.split()[1].split("/")[0])] = time.time()

    threading.Thread(target=listen, daemon=True).start()
    saved: list[int] = []
    while len(saved) < 2:
        saved = sorted(map(step_of, checkpoints.glob("step-*")))
        if process.poll() is not None:
            raise SystemExit(f"The trainer ended with code {process.returncode}.")
        time.sleep(0.005)
    lost = time.time() - ends[saved[0]]
    process.kill()
    process.wait()
    return lost, saved[1]


def step_of(checkpoint: Path) -> int:
    """After how many updates a checkpoint was taken."""
    return int(checkpoint.name.rpartition("-")[2])


def resume(job: Path, step: int) -> tuple[float, float]:
    """Seconds from the start of the process to the beginning of its first update, and to that update's end."""
    begin = time.perf_counter()
    process = start(job)
    assert process.stdout is not None
    is_resumed, ready = False, 0.0
    try:
        for line in process.stdout:
            is_resumed = is_resumed or line.startswith(f"Going on from step {step} ")
            if line.startswith("modern: "):  # what is trained, said just before the first update
                ready = time.perf_counter() - begin
                break
        metrics = job.parent / "run" / "metrics.jsonl"
        while process.poll() is None and f'"step": {step + 1},' not in metrics.read_text():
            time.sleep(0.005)
        first = time.perf_counter() - begin
        if not is_resumed or process.poll() is not None:
            raise SystemExit(f"The trainer did not go on from step {step}.")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return ready, first


def let_go(folders: list[Path]) -> None:
    """Take all files of folders out of the system's file cache, apart from those that are mapped."""
    os.sync()
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def environment() -> list[Path]:
    """Where the files lie that a training reads besides its own: standard library, packages, the trainer."""
    return [
        Path(file).parent for file in (os.__file__, torch.__file__, np.__file__, safetensors.__file__, gpt.__file__)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=2, help="kills; each costs a minute")
    parser.add_argument("--resumptions", type=int, default=3, help="cold and warm, per kill")
    arguments = parser.parse_args()
    lost: list[float] = []
    times: dict[str, list[float]] = {"cold": [], "warm": [], "cold, begun": [], "warm, begun": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            job = write_job(Path(folder))
            seconds, step = train_and_kill(job, Path(folder) / "run")
            lost.append(seconds)
            kept, run = Path(folder) / "kept", Path(folder) / "run"
            run.rename(kept)
            for kind in ("cold", "warm") * arguments.resumptions:
                shutil.copytree(kept, run)
                if kind == "cold":
                    let_go([*environment(), Path(folder)])
                ready, first = resume(job, step)
                times[kind].append(first)
                times[f"{kind}, begun"].append(ready)
                shutil.rmtree(run)
    shape = resolve(SHAPE, PLAN, VOCABULARY, 500_000)[0]
    title = (
        f"A killed training of {matrix_parameters(shape):,} parameters, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; checkpoints every {Runtime().checkpoint_seconds:g} s"
    )
    print_table(
        title,
        [
            ("work lost at the worst moment", lost, "s", "30"),
            ("cold start, to the beginning of the first update", times["cold, begun"], "s", "5"),
            ("cold start, to its end", times["cold"], "s", ""),
            ("warm start, to the beginning of the first update", times["warm, begun"], "s", "5"),
            ("warm start, to its end", times["warm"], "s", ""),
        ],
    )


if __name__ == "__main__":
    main()
