"""`python -m gpt.calibrate JOB.json`: how fast this machine trains, in a second; what a plan by minutes counts on.

Writes out/speed.json: {"device", "name", "flops"}, FLOPs per second, on the CPU those of training (a share of the rate
of its matrix products), on a card its peak in bfloat16. Exit codes: 0 done, 2 unusable job, 1 any other failure.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gpt.command import run_command, say
from gpt.device import choose_device, describe
from gpt.files import write_json
from gpt.flops import peak_flops
from gpt.jobfile import read_job
from gpt.jobs import Runtime
from gpt.sizing import CPU_TRAINING_SHARE, Speed, round_down

SECONDS = 1.0  # of timing
MATMUL_SHARE = 0.8  # of the peak that a plain product reaches on an H200


@dataclass(frozen=True)
class CalibrationJob:
    """JOB.json: where to write, and on what to measure."""

    out: Path
    runtime: Runtime = field(default_factory=Runtime)


def calibrate(job: CalibrationJob, note: Callable[[str], None]) -> Speed:
    """Measure and write the file. Rates are cut to two figures, so that plans differ less from one time to another."""
    device = choose_device(job.runtime, note)
    name = describe(device)
    if device.type == "cpu":
        rate = CPU_TRAINING_SHARE * matmul_rate(512, torch.float32, device)
    else:
        rate = peak_flops(name) or matmul_rate(4096, torch.bfloat16, device) / MATMUL_SHARE
    speed = Speed(device.type, name, float(round_down(rate)))
    job.out.mkdir(parents=True, exist_ok=True)
    write_json(job.out / "speed.json", speed._asdict())
    return speed


def matmul_rate(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOPs per second of square matrix products, the fastest of many: what else runs on the machine passes."""
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        before = time.perf_counter()
        for _ in range(4):
            left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
    return 4 * 2 * size**3 / best


def main() -> int:
    """Run the command; returns the exit code."""
    what = "Measure how fast this machine trains."
    return run_command("gpt.calibrate", what, lambda job: calibrate(read_job(CalibrationJob, job), say))


if __name__ == "__main__":
    sys.exit(main())
