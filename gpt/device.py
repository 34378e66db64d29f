"""Choosing where to compute, by trying: a device counts only if it has run a kernel."""

import contextlib
import ctypes
from collections.abc import Callable

import torch

from gpt.errors import GPTError
from gpt.jobs import Runtime

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BYTES = 2**30
NATIVE_BFLOAT16 = 8, 0  # compute capability: Ampere and newer


def choose_device(runtime: Runtime, note: Callable[[str], None]) -> torch.device:
    """The device to use; `auto` falls back to the CPU and tells `note` why. Also prepares this process for the CPU.

    Raises GPTError when CUDA or MPS was asked for and does not work.
    """
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    keep_freed_memory()
    if runtime.device == "cpu":
        return torch.device("cpu")
    if runtime.device == "mps":
        reason = mps_failure()
        if reason is not None:
            raise GPTError(f"Device mps was asked for, but {reason}. Set runtime.device to auto or cpu.")
        return torch.device("mps")
    reason = cuda_failure()
    if reason is None:
        return torch.device("cuda")
    if runtime.device == "cuda":
        raise GPTError(
            f"Device cuda was asked for, but {reason}. Set runtime.device to auto or cpu, or install a torch build and "
            f"driver that fit this machine's card."
        )
    note(f"Computing on the CPU: {reason}.")
    return torch.device("cpu")


def cuda_failure() -> str | None:
    """Why CUDA cannot be used here, or None when a kernel ran on it and gave the right result."""
    if not torch.backends.cuda.is_built():
        return f"this torch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA card or driver"
    return kernel_failure("cuda", _card_name())


def mps_failure() -> str | None:
    """Why Apple's Metal cannot be used here, or None when a kernel ran on it and gave the right result."""
    if not torch.backends.mps.is_built():
        return f"this torch ({torch.__version__}) is built without Metal"
    if not torch.backends.mps.is_available():
        return "torch finds no Metal device"
    return kernel_failure("mps", "Apple GPU")


def kernel_failure(device: str, name: str) -> str | None:
    """What is wrong with a first matrix product on a device, or None."""
    try:
        square = torch.arange(4.0, device=device).reshape(2, 2)
        result = (square @ square).cpu().tolist()
    except (RuntimeError, AssertionError) as error:
        return f"a first kernel failed on {name}: {str(error).splitlines()[0]}"
    return None if result == [[2.0, 3.0], [6.0, 11.0]] else f"a first kernel gave a wrong result on {name}"


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, for the next step to use.

    Given back to the system and asked for anew at every step, it costs thousands of page faults: 7% of a step of
    4 layers x 128. Only glibc knows these settings; elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, KEPT_BYTES)


def describe(device: torch.device) -> str:
    """The device in words, for people."""
    if device.type == "mps":
        return "Apple GPU (Metal)"
    return _card_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def mixed_type(device: torch.device) -> torch.dtype:
    """What matrix products are done in: bfloat16 on CUDA cards made for it, float16 on older ones, else float32.

    float16 needs its loss scaled (`gpt.loss_scale`). Apple's GPUs compute in float32.
    """
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= NATIVE_BFLOAT16 else torch.float16


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Matrix products in the device's `mixed_type`, everything else in float32."""
    dtype = mixed_type(device)
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def logits_memory(device: torch.device) -> float:
    """Bytes that the logits of a micro-batch may take unless somebody says otherwise: an eighth of a card, else 1 GiB.

    Whole logits are simplest for the compiler to fuse, so pieces are for where memory binds.
    """
    return torch.cuda.get_device_properties(device).total_memory / 8 if device.type == "cuda" else 2.0**30


def _card_name() -> str:
    try:
        return torch.cuda.get_device_name()
    except (RuntimeError, AssertionError):
        return "the CUDA card"
