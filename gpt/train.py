"""`python -m gpt.train RUN.json [--watch-fd N]`: one training run as a process of its own.

Exit codes: 0 finished (also when it had been before), 75 stopped on request after saving (SIGTERM, SIGINT, or the end
of the watched pipe), 2 unusable job, 1 any other failure. Imports torch late, so that a request to stop is heard from
the first moment.
"""

import argparse
import fcntl
import os
import sys
from pathlib import Path
from typing import TextIO

from gpt.command import FAILED, FINISHED, GENTLE_THREADS, STOPPED, UNUSABLE, complain, describe_os_error, say
from gpt.errors import GPTError
from gpt.identity import refuse_other_identity
from gpt.jobfile import read_job, read_json
from gpt.jobs import RunJob
from gpt.stop import Stop

COMMAND = "gpt.train"
MEMORY = "even one sequence per pass is too much; lower model.context, width or layers, or runtime.logits_gib"


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gpt.train", description="Train a model.")
    parser.add_argument("job", type=Path, metavar="RUN.json")
    parser.add_argument("--watch-fd", type=int, help="stop when this pipe ends")
    arguments = parser.parse_args()
    for name, value in GENTLE_THREADS.items():
        os.environ.setdefault(name, value)  # torch is not loaded yet
    stop = Stop()
    stop.listen_to_signals()
    try:
        if arguments.watch_fd is not None:
            stop.watch(arguments.watch_fd)
        job = read_job(RunJob, arguments.job)
        job.run_dir.mkdir(parents=True, exist_ok=True)
        with lock(job.run_dir):
            if is_finished(job):
                say(f"Finished before: {job.run_dir / 'final'}")
                return FINISHED
            return train(job, stop)
    except GPTError as error:
        return complain(COMMAND, error, UNUSABLE)
    except OSError as error:
        return complain(COMMAND, describe_os_error(error), FAILED)


def train(job: RunJob, stop: Stop) -> int:
    """Train with the lock held; what is wrong with the job is told apart from what goes wrong in training."""
    import torch

    from gpt.device import describe
    from gpt.trainer import StopRequested, Trainer

    trainer = Trainer(job, stop, say)
    try:
        trainer.run()
    except StopRequested as stopped:
        say(str(stopped))
        return STOPPED
    except GPTError as error:
        return complain(COMMAND, error, FAILED)
    except torch.OutOfMemoryError:
        return complain(COMMAND, f"{describe(trainer.device)} is out of memory: {MEMORY}.", FAILED)
    return FINISHED


def is_finished(job: RunJob) -> bool:
    """Whether this very run has been published in its run_dir; raises GPTError when another one has."""
    state = job.run_dir / "final" / "state" / "state.json"
    if not state.exists():
        return False
    refuse_other_identity(read_json(state)["identity"], job.identity(), job.run_dir / "final")
    return True


def lock(run_dir: Path) -> TextIO:
    """Own a run_dir until the file is closed or the process is gone; raises GPTError when another process does."""
    file = (run_dir / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise GPTError(f"Another process is training in {run_dir}: wait for it, or use another run_dir.") from None
    return file


if __name__ == "__main__":
    sys.exit(main())
