"""The two presets against each other at equal time: `python -m tests.benchmarks.quality [ROUNDS] [STORE]`.

`modern` is trained as the recipe python-docs says, `gpt2` with the steps that take the same training seconds, as short
runs of both show first, one at a time. The rest does not depend on speed, so the two presets then train side by side,
one core each. gpt2 keeps its learning rate and weight decay by formula (0.003 and 1.6 here), the best of
those tried: rates 0.0015 and 0.006, and a decay of 0.1 with rates 0.006 and 0.012. Bits per byte over the whole split
decide.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.benchmarks.table import print_table

SEQUENCES = 500 * 16  # of the recipe in all
GPT2_BATCH = 8
PROBES = 3
GPT2 = [
    "--set",
    "model.preset=gpt2",
    "--set",
    "model.tied=null",
    "--set",
    "training.learning_rate=null",
    "--set",
    f"training.batch_size={GPT2_BATCH}",
    "--set",
    "model.heads=null",
]


def run(store: str, *options: str, until: str = "report", core: int | None = None) -> dict[str, float]:
    """Metrics of one run of python-docs with options, on all cores or on one."""
    command = [sys.executable, "-m", "flows", "run", "python-docs", "--until", until, "--json", *options]
    pin = None if core is None else partial(os.sched_setaffinity, 0, {core})
    environment = {**os.environ, "TEXTMILL_STORE": store}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=pin)
    return json.loads(done.stdout.splitlines()[-1])["metrics"]


def steps_of_equal_time(store: str) -> tuple[int, list[float]]:
    """How many steps of gpt2 take as long as the recipe's of modern, and the ratios of speed that say so."""
    ratios = []
    for seed in range(101, 101 + PROBES):
        short = ["--set", f"training.seed={seed}", "--set", "training.steps=100"]
        modern, gpt2 = run(store, *short, until="model"), run(store, *GPT2, *short, until="model")
        ratios.append(gpt2["train_tokens_per_s"] / modern["train_tokens_per_s"])
    return round(SEQUENCES / GPT2_BATCH * statistics.median(ratios)), ratios


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        store = sys.argv[2] if len(sys.argv) > 2 else folder
        steps, ratios = steps_of_equal_time(store)
        presets = {"modern": [], "gpt2": [*GPT2, "--set", f"training.steps={steps}"]}
        cores = sorted(os.sched_getaffinity(0))
        results: dict[str, list[dict[str, float]]] = {preset: [] for preset in presets}
        with ThreadPoolExecutor(len(presets)) as pool:
            for seed in range(1, rounds + 1):
                of_seed = [
                    pool.submit(run, store, *options, "--set", f"training.seed={seed}", core=cores[n % len(cores)])
                    for n, options in enumerate(presets.values())
                ]
                for preset, result in zip(presets, of_seed, strict=True):
                    results[preset].append(result.result())
                print(f"seed {seed}: {[results[preset][-1]['val_bpb'] for preset in presets]}", flush=True)
    rows: list[tuple[str, list[float], str, str]] = [("gpt2 / modern, training tokens per second", ratios, "", "")]
    for preset, metrics in results.items():
        rows += [
            (f"{preset}: validation bits per byte", [one["val_bpb"] for one in metrics], "bits/B", ""),
            (f"{preset}: steps", [one["steps"] for one in metrics], "", ""),
            (f"{preset}: parameters", [one["parameters"] / 1e6 for one in metrics], "M", ""),
        ]
    pairs = zip(results["modern"], results["gpt2"], strict=True)
    of_one_seed = [modern["val_bpb"] / gpt2["val_bpb"] for modern, gpt2 in pairs]
    print_table("Quality at equal training time", [*rows, ("modern / gpt2, bits per byte", of_one_seed, "", "below 1")])


if __name__ == "__main__":
    main()
