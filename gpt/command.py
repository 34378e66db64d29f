"""How the commands of this floor speak: lines on stdout at once, one line on stderr for what is wrong, exit codes."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from gpt.errors import GPTError
from gpt.stop import leave_with

FINISHED, FAILED, UNUSABLE, STOPPED = 0, 1, 2, 75

GENTLE_THREADS = {"GOMP_SPINCOUNT": "30000"}
"""Environment that must be set before torch is loaded: threads that wait for each other go to sleep before long.

By default they spin ten times as long, and as soon as anything else runs on the machine each waits for one that has no
core. A step of 4 layers x 128 on two cores, two medians of 60: 129 and 133 ms, by default 128 and 146, with 1,000 spins
155 and 159; with three other processes running 736 ms, by default 1,240, with 1,000 spins 481.
"""


def say(line: str) -> None:
    """Print a line at once; a reader that is gone is no reason to stop."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process


def complain(command: str, problem: object, code: int) -> int:
    """Say on stderr what is wrong, in one line; returns the exit code."""
    print(f"{command}: {problem}", file=sys.stderr, flush=True)
    return code


def describe_os_error(error: OSError) -> str:
    """A failed file operation in one line with a remedy."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}. Free space there or mend its permissions, then run the same again."


def run_command(command: str, description: str, work: Callable[[Path], object]) -> int:
    """Read the arguments of a command that has nothing to save and do its work on a job file; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    parser.add_argument("job", type=Path, metavar="JOB.json")
    parser.add_argument("--watch-fd", type=int, help="leave when this pipe ends")
    arguments = parser.parse_args()
    try:
        if arguments.watch_fd is not None:
            leave_with(arguments.watch_fd, STOPPED)
        work(arguments.job)
    except GPTError as error:
        return complain(command, error, UNUSABLE)
    except OSError as error:
        return complain(command, describe_os_error(error), FAILED)
    return FINISHED
