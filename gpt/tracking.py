"""Sending the diary's scalars to Weights & Biases or trackio, for those who ask for it and have it installed.

Both packages have the same three calls (init, log, finish). What they do with the numbers, over the network or not, is
their own settings' matter; nothing here is needed for a result, and a tracker that fails does not stop a run.
"""

import hashlib
import importlib
from collections.abc import Callable
from typing import Any

from gpt.errors import GPTError
from gpt.identity import flat_identity
from gpt.jobs import RunJob

PROJECT = "textmill"


class Tracker:
    """One run at the service that `job.runtime.track` names; None there makes every call do nothing.

    A resumed run goes on under the same id, which follows from the job and its run_dir.
    """

    def __init__(self, job: RunJob, note: Callable[[str], None]) -> None:
        """Begin the run there; raises GPTError when the package is missing or does not start."""
        self.note = note
        self.name = job.runtime.track
        self.module: Any = None
        if self.name is None:
            return
        try:
            module = importlib.import_module(self.name)
        except ImportError:
            raise GPTError(
                f"runtime.track is {self.name}, but that package is not installed: pip install {self.name}, or leave "
                f"runtime.track out."
            ) from None
        identity = flat_identity(job.identity())
        run_id = hashlib.sha256(repr((str(job.run_dir.resolve()), identity)).encode()).hexdigest()[:16]
        of_its_own = {"id": run_id} if self.name == "wandb" else {}
        label = f"{job.run_dir.name}-{run_id[:6]}"
        try:
            module.init(project=PROJECT, name=label, config=identity, resume="allow", **of_its_own)
        except Exception as error:  # whatever they raise: no key, no network, another version
            raise GPTError(
                f"runtime.track is {self.name}, but it did not start: {_first_line(error)}. Mend its settings, or "
                f"leave runtime.track out."
            ) from None
        self.module = module

    def write(self, step: int, scalars: dict[str, float | None]) -> None:
        """Send scalars of a step, None left out; after a failure nothing more is sent."""
        known = {name: value for name, value in scalars.items() if value is not None}
        self._try(lambda: self.module.log(known, step=step))

    def close(self) -> None:
        """Wait until all is sent."""
        self._try(lambda: self.module.finish())
        self.module = None

    def _try(self, call: Callable[[], Any]) -> None:
        if self.module is None:
            return
        try:
            call()
        except Exception as error:  # the run is worth more than its tracking
            self.note(f"{self.name} failed and gets no more numbers: {_first_line(error)}; metrics.jsonl has them all.")
            self.module = None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
