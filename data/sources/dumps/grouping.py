"""Posts brought together by thread, in bounded memory.

Posts of one thread lie anywhere in a dump's two files. So all are packed, which takes a fourth of their memory, into
parts by a hash of the thread's id, and these are unpacked and sorted out one by one. Beyond `HELD_BYTES` what has been
packed goes into files; a part that is still too large is divided again. A single thread is always held as a whole.
"""

import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from zlib import crc32

import msgspec

from data.sources.base import SourceError
from data.sources.dumps.posts import Post

HELD_BYTES = 64_000_000  # of packed posts in memory
PART_BYTES = 24_000_000  # a larger part of packed posts is divided again
_PARTS = 64
_PART_BITS = 6
_DEEPEST = 4  # times that posts are divided; what is still too large then is one thread
_SIZE = struct.Struct("<I")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Post]).decode


def grouped(batches: Iterable[Sequence[Post]], by_thread: bool = True) -> Iterator[list[Post]]:
    """Posts with the same thread, or else the same post again, together; each group in the order of the posts.

    The order of groups depends on nothing but the posts. Raises SourceError when there is no room for the files.
    """
    return _grouped(batches, by_thread, 0)


def _grouped(batches: Iterable[Sequence[Post]], by_thread: bool, level: int) -> Iterator[list[Post]]:
    with _Parts(by_thread, level) as parts:
        for batch in batches:
            parts.add(batch)
        for size, part in parts.taken():
            if size > PART_BYTES and level + 1 < _DEEPEST:
                yield from _grouped(part, by_thread, level + 1)
                continue
            groups: dict[str, list[Post]] = defaultdict(list)
            for batch in part:
                for post in batch:
                    groups[_key(post, by_thread)].append(post)
            yield from groups.values()


def _key(post: Post, by_thread: bool) -> str:
    if by_thread:
        return post.link
    return f"s{post.id}" if post.is_submission else post.id


class _Parts:
    """Packed posts in parts by a hash of their thread, in memory as long as they are few."""

    def __init__(self, by_thread: bool, level: int) -> None:
        self._by_thread = by_thread
        self._shift = level * _PART_BITS
        self._held = [bytearray() for _ in range(_PARTS)]
        self._size = 0  # of what is held, in bytes
        self._written = [0] * _PARTS  # bytes in the part's file
        self._folder: Path | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    def add(self, posts: Iterable[Post]) -> None:
        found: list[list[Post]] = [[] for _ in range(_PARTS)]
        shift = self._shift
        if self._by_thread:
            for post in posts:
                found[crc32(post.link.encode()) >> shift & _PARTS - 1].append(post)
        else:
            for post in posts:
                found[crc32(post.id.encode()) >> shift & _PARTS - 1].append(post)
        for held, part in zip(self._held, found, strict=True):
            if part:
                packed = _pack(part)
                held += _SIZE.pack(len(packed))
                held += packed
                self._size += len(packed)
        if self._size > HELD_BYTES:
            self._write()

    def _write(self) -> None:
        """Move what is held into files."""
        try:
            if self._folder is None:
                self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="textmill-")))
            for number, held in enumerate(self._held):
                with (self._folder / str(number)).open("ab") as file:
                    file.write(held)
                self._written[number] += len(held)
                held.clear()
        except OSError as error:
            raise SourceError(
                f"Threads are put together in {tempfile.gettempdir()}, which cannot be written ({error.strerror}). A "
                "month needs about a fifth of its decompressed size there; name a roomier folder in the environment "
                "variable TMPDIR."
            ) from error
        self._size = 0

    def taken(self) -> Iterator[tuple[int, Iterator[list[Post]]]]:
        """Each part once, as its size packed in bytes and its posts in batches; nothing of it is left behind."""
        if self._folder is not None:
            self._write()
        for number in range(_PARTS):
            held, self._held[number] = self._held[number], bytearray()
            if self._folder is None:
                yield len(held), _unpacked_from_memory(held)
            else:
                path = self._folder / str(number)
                yield self._written[number], _unpacked_from_file(path)
                path.unlink()


def _unpacked_from_memory(packed: bytearray) -> Iterator[list[Post]]:
    view = memoryview(packed)
    begin = 0
    while begin < len(view):
        end = begin + _SIZE.size + _SIZE.unpack_from(view, begin)[0]
        yield _unpack(view[begin + _SIZE.size : end])
        begin = end


def _unpacked_from_file(path: Path) -> Iterator[list[Post]]:
    with path.open("rb", buffering=1 << 17) as file:
        while size := file.read(_SIZE.size):
            yield _unpack(file.read(_SIZE.unpack(size)[0]))
