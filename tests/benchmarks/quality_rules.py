"""The rules of quality on one core: `python -m tests.benchmarks.quality_rules [--rounds N] [--megabytes M]`.

Normalised documents in batches as the documents stage holds them, each group alone and all four together, in a new
process every round. Finding the words is part of every figure, as is laying texts out as columns. The text is that of
the tokens benchmark, and the share of it that is kept is printed, too.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from tests.benchmarks.table import median, print_table
from tests.benchmarks.tokens import documents

GOAL = 12.0  # MB/s
BATCH_CHARACTERS = 2_000_000


def batches(size: int) -> list[list[str]]:
    """About `size` bytes of documents, in batches."""
    found: list[list[str]] = [[]]
    characters = 0
    for text in documents(size):
        if characters >= BATCH_CHARACTERS:
            found.append([])
            characters = 0
        found[-1].append(text.strip("\n"))
        characters += len(text)
    return found


def run(size: int) -> None:
    """One measured run in this process; prints a JSON object with MB/s by group, and the share kept by all."""
    from data.quality.rules import QualityConfig, judged

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    made = batches(size)
    total = sum(len(text.encode()) for batch in made for text in batch) / 1e6
    groups = {name: [name] for name in QualityConfig.model_fields}
    groups["all"] = list(groups)
    judged(made[0][:100], QualityConfig.model_validate({"gopher": {}}))  # tables are made once
    speeds: dict[str, float] = {}
    kept = 0
    for name, names in groups.items():
        config = QualityConfig.model_validate({group: {} for group in names})
        begin = time.process_time()
        reasons = [one.reason for batch in made for one in judged(batch, config)]
        speeds[name] = total / (time.process_time() - begin)
        kept = reasons.count(None)
    print(json.dumps(speeds | {"kept": 100 * kept / sum(map(len, made)), "total": total}))


def main() -> int:
    """Print the table; exit code 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.megabytes * 1_000_000)
        return 0
    command = [sys.executable, "-m", "tests.benchmarks.quality_rules", "--run", "--megabytes"]
    command.append(str(arguments.megabytes))
    runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(arguments.rounds)]
    rows: list[tuple[str, list[float], str, str]] = [
        (name, [one[name] for one in runs], "MB/s", f"at least {GOAL:g}" if name == "all" else "")
        for name in ("repetition", "gopher", "c4", "fineweb", "all")
    ]
    rows.append(("documents kept by all", [one["kept"] for one in runs], "%", ""))
    print_table(f"Rules of quality: {runs[0]['total']:.1f} MB, one core, {arguments.rounds} runs", rows)
    return 0 if median([one["all"] for one in runs]) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
