"""Memory limits as containers have them, for tests in which the kernel kills a process for real."""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.launch import Launch

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class LimitedLaunch(Launch):
    """Starts a command inside of a control group."""

    group: str = ""

    def argv(self, module: str, node: int = 0) -> list[str]:
        """The command, behind a shell that first enters the group."""
        return ["/bin/sh", "-c", f'echo $$ > {self.group}/cgroup.procs && exec "$@"', "sh", *super().argv(module, node)]


@contextlib.contextmanager
def memory_limit(megabytes: int) -> Iterator[Path]:
    """A control group (version 1 or 2) whose processes have so much memory together; skips where none can be made."""
    first = (ROOT / "memory" / "memory.limit_in_bytes").exists()
    group = (ROOT / "memory" if first else ROOT) / f"textmill-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(megabytes << 20))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"limiting memory needs a control group that this user may make: {error}")
    try:
        if not first and not os.access(group / "cgroup.procs", os.W_OK):
            pytest.skip("this user may not enter a control group")
        yield group
    finally:
        deadline = time.monotonic() + 10
        while True:
            try:
                group.rmdir()
                break
            except OSError:  # what was killed is still leaving
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
