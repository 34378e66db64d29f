"""`python -m tests.benchmarks`: every benchmark, one after the other, each in a process of its own."""

import subprocess
import sys

NAMES = (
    "tokens",
    "training_step",
    "training_rate",
    "resume",
    "folder",
    "hub",
    "discord",
    "reddit",
    "forgetting",
    "orchestration",
    "store_listing",
    "reruns",
    "quality_rules",
    "near_duplicates",
    "boilerplate",
    "cleaning",
    "dask_scaling",
    "overhead",
    "scaling_plan",
    "quality_agreement",
    "web_stage",
    "quality",
)

if __name__ == "__main__":
    codes = [subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"]).returncode for name in NAMES]
    sys.exit(max(codes))
