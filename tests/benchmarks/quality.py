"""The two presets against each other at equal time: `python -m tests.benchmarks.quality [ROUNDS] [STORE]`.

`modern` is trained as the recipe python-docs says; `gpt2` with the steps that take the same training seconds (measured
on a short run first, with its own learning rate by formula). Validation bits per byte over the whole split decide.
"""

import json
import os
import subprocess
import sys
import tempfile

from tests.benchmarks.table import print_table

GPT2 = [
    "--set",
    "model.preset=gpt2",
    "--set",
    "model.tied=null",
    "--set",
    "training.learning_rate=null",
    "--set",
    "model.heads=null",
]


def run(store: str, *options: str) -> dict[str, float]:
    """Metrics of one run of python-docs with options."""
    command = [sys.executable, "-m", "flows", "run", "python-docs", "--until", "report", "--json", *options]
    done = subprocess.run(
        command, env={**os.environ, "TEXTMILL_STORE": store}, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])["metrics"]


def compare(store: str, seed: int) -> dict[str, dict[str, float]]:
    """Both presets with one seed, at equal training seconds."""
    seeded = ["--set", f"training.seed={seed}"]
    modern = run(store, *seeded)
    probe = run(store, *GPT2, *seeded, "--set", "training.steps=200")
    rate = probe["train_tokens_per_s"] / modern["train_tokens_per_s"]
    steps = round(modern["steps"] * rate)
    return {"modern": modern, "gpt2": run(store, *GPT2, *seeded, "--set", f"training.steps={steps}")}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        store = sys.argv[2] if len(sys.argv) > 2 else folder
        results = [compare(store, seed) for seed in range(1, rounds + 1)]
    rows = []
    for preset in ("modern", "gpt2"):
        metrics = [result[preset] for result in results]
        rows += [
            (f"{preset}: validation bits per byte", [one["val_bpb"] for one in metrics], "bits/B", ""),
            (f"{preset}: steps", [one["steps"] for one in metrics], "", ""),
            (f"{preset}: parameters", [one["parameters"] / 1e6 for one in metrics], "M", ""),
        ]
    ratios = [result["modern"]["val_bpb"] / result["gpt2"]["val_bpb"] for result in results]
    print_table("Quality at equal training time", [*rows, ("modern / gpt2, bits per byte", ratios, "", "below 1")])


if __name__ == "__main__":
    main()
