"""Where the time of a run goes: all of it, and the part spent on training steps. Observations only, never a cause."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts seconds over all processes of a run; every moment since the last look belongs to what `lap` says."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.training_seconds = 0.0
        self._lap_training = 0.0
        self._looked = self._saved = time.monotonic()

    def lap(self, training: bool = False) -> float:
        """Book the time since the last look; returns the training seconds since the last lap, above 0."""
        self._book(training)
        lap, self._lap_training = self._lap_training, 0.0
        return max(lap, 1e-9)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The time in this block is not the training's own; what came before it was."""
        self._book(training=True)
        yield
        self._book(training=False)

    def since_save(self) -> float:
        """Seconds since the last checkpoint, or since the start."""
        return time.monotonic() - self._saved

    def saved(self) -> None:
        """A checkpoint has been written."""
        self._saved = time.monotonic()

    def observed(self) -> dict[str, float]:
        """What a checkpoint keeps of it."""
        return {"seconds": self.seconds, "training_seconds": self.training_seconds}

    def resume(self, observed: dict[str, float]) -> None:
        """Go on counting from what a checkpoint kept."""
        self.seconds, self.training_seconds = observed["seconds"], observed["training_seconds"]

    def _book(self, training: bool) -> None:
        now = time.monotonic()
        spent, self._looked = now - self._looked, now
        self.seconds += spent
        if training:
            self.training_seconds += spent
            self._lap_training += spent
