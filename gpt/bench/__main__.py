"""`python -m gpt.bench shakespeare` and `python -m gpt.bench gpu`: what this trainer reaches, measured by one command.

Needs torch and numpy (one row of `gpu` safetensors, too), no network.

Exit codes: 0 done, 2 unusable arguments, 1 any other failure (no card for `gpu`).
"""

import argparse
import os
import sys
from pathlib import Path

from gpt.command import FAILED, FINISHED, GENTLE_THREADS, UNUSABLE, complain, describe_os_error
from gpt.errors import GPTError

COMMAND = "gpt.bench"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parsed = parser().parse_args(arguments)
    for name, value in GENTLE_THREADS.items():
        os.environ.setdefault(name, value)  # torch is not loaded yet
    try:
        if parsed.bench == "shakespeare":
            from gpt.bench import shakespeare

            shakespeare.command(parsed)
        else:
            from gpt.bench import gpu

            try:
                gpu.command(parsed)
            except gpu.NoCard as reason:
                return complain(COMMAND, reason, FAILED)
    except GPTError as error:
        return complain(COMMAND, error, UNUSABLE)
    except OSError as error:
        return complain(COMMAND, describe_os_error(error), FAILED)
    return FINISHED


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    top = argparse.ArgumentParser(prog=f"python -m {COMMAND}", description="Measure the trainer.")
    benches = top.add_subparsers(dest="bench", required=True)

    one = benches.add_parser("shakespeare", help="train on a text by characters for a given time, then score its end")
    one.add_argument("--text", type=Path, required=True, metavar="FILE", help="UTF-8 text, such as Tiny Shakespeare")
    one.add_argument("--seconds", type=float, default=90.0, help="wall time of the training (90)")
    one.add_argument("--steps", type=int, help="train so many steps instead, however long they take")
    one.add_argument("--json", action="store_true", help="end with one line of JSON; progress goes to stderr")
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--threads", type=int, help="processor threads (all)")
    one.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    one.add_argument("--preset", choices=("modern", "gpt2"), default="modern")
    one.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="training.X=Y or model.X=Y, any number of times"
    )

    two = benches.add_parser("gpu", help="the table of speed goals on one CUDA card")
    two.add_argument("--text", type=Path, metavar="FILE", help="Tiny Shakespeare, for the time to a given loss")
    two.add_argument("--write", type=Path, metavar="FILE", help="store the table as a page, such as docs/gpu.md")
    two.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    two.add_argument("--tiny", action="store_true", help="shapes that a processor can do: tries the command out")
    return top


if __name__ == "__main__":
    sys.exit(main())
