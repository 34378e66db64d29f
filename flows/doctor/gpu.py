"""Whether a kernel runs on the GPU. Torch takes seconds to import, so a process of its own tries while others look."""

import json
import subprocess
import sys

from flows.doctor.finding import Finding, fail, ok, warn
from tasks.launch import card_count

PATIENCE = 120.0  # seconds; a first import from a cold disk takes long
PROBE = """
import json, torch
from gpt import device
cuda, mps = device.cuda_failure(), device.mps_failure()
name = torch.cuda.get_device_name() if cuda is None else None
print(json.dumps({"torch": torch.__version__, "cuda": cuda, "mps": mps, "name": name}))
"""


def start_probe(code: str = PROBE) -> "subprocess.Popen[str]":
    """A process that tries; `check_gpu` waits for it."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def check_gpu(probe: "subprocess.Popen[str]", cards: int | None = None, patience: float = PATIENCE) -> Finding:
    """What `auto` would choose here, and why. `cards` is how many the driver shows; None: it is asked."""
    cards = card_count() if cards is None else cards
    try:
        out, err = probe.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return fail(
            "gpu",
            f"torch did not say within {patience:.0f} s whether a GPU works",
            "look with nvidia-smi whether the driver hangs; --device cpu does without",
        )
    try:
        told = json.loads(out.splitlines()[-1])
    except (ValueError, IndexError):
        said = err.strip().splitlines()[-1:] or [f"exit code {probe.returncode}"]
        return fail("gpu", f"torch cannot be used: {said[0]}", "make venv installs the pinned torch anew")
    if told["cuda"] is None:
        return ok("gpu", f"a kernel ran on {told['name']} (torch {told['torch']})")
    if told["mps"] is None:
        return ok("gpu", f"a kernel ran on Apple's GPU, used with --device mps (torch {told['torch']})")
    if cards:
        return warn(
            "gpu",
            f"the driver shows {cards} NVIDIA card{'s' if cards > 1 else ''}, but runs fall back to the CPU: "
            f"{told['cuda']}",
            "install a torch build that fits card and driver, or update the driver (nvidia-smi shows its version)",
        )
    return ok("gpu", f"no GPU to use, runs compute on the CPU: {told['cuda']}")
