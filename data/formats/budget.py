"""How much what comes out of one file may grow, all archives in it together, and how deep they may be nested."""

from collections.abc import Callable, Iterable, Iterator

from data.formats.base import CannotReadError
from data.formats.decompression import BOMB_BYTES, BOMB_RATIO

MAX_DEPTH = 3  # archives in each other, the outermost counted


class Budget:
    """Bytes that may come out of an archive: as with single streams, `BOMB_RATIO` times what has been read of it, or
    `BOMB_BYTES` if that is more. An archive in an archive takes from the budget of the outermost one.
    """

    def __init__(self) -> None:
        self._read = 0
        self._grown = 0

    def reads(self, chunks: Callable[[], Iterable[bytes]]) -> Callable[[], Iterable[bytes]]:
        """The same chunks, counted as bytes of the outermost archive, each once however often they are read."""

        def count(size: int) -> None:
            self._read += size

        return _counted(chunks, count)

    def has_read(self, size: int) -> None:
        """Count an archive that is read at random by its whole size."""
        self._read = max(self._read, size)

    def grows(self, chunks: Callable[[], Iterable[bytes]]) -> Callable[[], Iterable[bytes]]:
        """The same chunks, counted as bytes that came out; they raise CannotReadError when that is too much."""

        def count(size: int) -> None:
            self._grown += size
            if self._grown > max(BOMB_BYTES, BOMB_RATIO * self._read):
                raise CannotReadError(
                    "decompression_bomb",
                    f"{self._read} bytes of the archive have grown to {self._grown}; "
                    f"{BOMB_BYTES} bytes or {BOMB_RATIO} times are allowed",
                )

        return _counted(chunks, count)


def _counted(chunks: Callable[[], Iterable[bytes]], count: Callable[[int], None]) -> Callable[[], Iterable[bytes]]:
    furthest = 0

    def again() -> Iterator[bytes]:
        nonlocal furthest
        at = 0
        for chunk in chunks():
            at += len(chunk)
            if at > furthest:
                count(at - furthest)
                furthest = at
            yield chunk

    return again
