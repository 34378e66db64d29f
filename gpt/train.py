"""`python -m gpt.train RUN.json [--watch-fd N]`: one training run as a process of its own, or as several.

Several are started by `python -m torch.distributed.run --nproc-per-node N -m gpt.train RUN.json`: the first of them is
the trainer, the others do their shares of its updates (`gpt.together`) and end with its exit code.

Exit codes: 0 finished (also when it had been before), 75 stopped on request after saving (SIGTERM, SIGINT, the end of
the watched pipe, or of torchrun), 2 unusable job, 1 any other failure. torchrun shows 1 for all that are not 0, so a
run that was stopped and has saved also leaves a file `stopped` in its run_dir, until it goes on. Imports torch late,
so that a request to stop is heard from the first moment.
"""

import argparse
import fcntl
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gpt.command import FAILED, FINISHED, GENTLE_THREADS, STOPPED, UNUSABLE, complain, describe_os_error, say
from gpt.errors import GPTError
from gpt.identity import refuse_other_identity
from gpt.jobfile import read_job, read_json
from gpt.jobs import RunJob
from gpt.stop import Stop

if TYPE_CHECKING:
    from gpt.ranks import Ranks

COMMAND = "gpt.train"
NEEDED = ("torch", "numpy", "safetensors")
STOPPED_FILE = "stopped"  # in run_dir
PATIENCE = 120.0  # seconds that a process waits for the others when torchrun is gone
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
    is_one_of_many = int(os.environ.get("WORLD_SIZE", "1")) > 1  # says torchrun
    try:
        if arguments.watch_fd is not None:
            stop.watch(arguments.watch_fd if not is_one_of_many else parents_pipe(arguments.watch_fd))
        job = read_job(RunJob, arguments.job)
        return train_together(job, stop) if is_one_of_many else train_if_needed(job, stop)
    except GPTError as error:
        return complain(COMMAND, error, UNUSABLE)
    except OSError as error:
        return complain(COMMAND, describe_os_error(error), FAILED)
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        return complain(COMMAND, f"{error.name} is not installed: pip install {' '.join(NEEDED)}.", UNUSABLE)


def train_together(job: RunJob, stop: Stop) -> int:
    """Be one of the processes that torchrun has started; returns the exit code, the same for all of them."""
    stop.watch_parent()
    from gpt.ranks import join
    from gpt.together import dismiss

    ranks = join(job.runtime.device)
    if not ranks.is_first:
        return help_training(job, stop, ranks)
    code = FAILED
    try:
        code = train_if_needed(job, stop, ranks)
    except GPTError:
        code = UNUSABLE
        raise
    finally:
        dismiss(ranks, code)
    ranks.leave()
    return code


def help_training(job: RunJob, stop: Stop, ranks: "Ranks") -> int:
    """Be another process than the first; it alone says what the run has to say."""
    import torch

    from gpt.assemble import assemble
    from gpt.device import choose_device
    from gpt.together import follow

    stop.leave_after_parent(PATIENCE, FAILED)
    device = choose_device(job.runtime, lambda note: None)
    try:
        code = follow(ranks, lambda: assemble(job, device, ranks), stop)
        ranks.leave()
        return code
    except GPTError as error:
        return complain(COMMAND, error, FAILED)
    except torch.OutOfMemoryError:
        return FAILED  # as for the first process, which says so


def train_if_needed(job: RunJob, stop: Stop, ranks: "Ranks | None" = None) -> int:
    """Train unless this run has been published; one process at a time does so in a run_dir."""
    job.run_dir.mkdir(parents=True, exist_ok=True)
    with lock(job.run_dir):
        if is_finished(job):
            say(f"Finished before: {job.run_dir / 'final'}")
            return FINISHED
        (job.run_dir / STOPPED_FILE).unlink(missing_ok=True)
        return train(job, stop, ranks)


def train(job: RunJob, stop: Stop, ranks: "Ranks | None" = None) -> int:
    """Train with the lock held; what is wrong with the job is told apart from what goes wrong in training."""
    import torch

    from gpt.device import describe
    from gpt.ranks import ALONE
    from gpt.trainer import StopRequested, Trainer

    trainer = Trainer(job, stop, say, ranks or ALONE)
    try:
        trainer.run()
    except StopRequested as stopped:
        say(str(stopped))
        (job.run_dir / STOPPED_FILE).write_text(f"{stopped}\n")
        return STOPPED
    except GPTError as error:
        return complain(COMMAND, error, FAILED)
    except torch.OutOfMemoryError:
        return complain(COMMAND, f"{describe(trainer.device)} is out of memory: {MEMORY}.", FAILED)
    return FINISHED


def parents_pipe(descriptor: int) -> int:
    """Open the pipe that torchrun has got as `descriptor` and does not pass on. Raises GPTError when it has none."""
    path = f"/proc/{os.getppid()}/fd/{descriptor}"
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # which does not wait for a starter that is gone
    except OSError:
        raise GPTError(
            f"--watch-fd is {descriptor}, but {path} cannot be opened: pass a pipe on to torch.distributed.run, on "
            f"Linux, or leave --watch-fd out."
        ) from None
    os.set_blocking(opened, True)
    return opened


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
