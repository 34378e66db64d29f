"""Versions of messages merged as streams, few at a time: what is too many waits in temporary files.

However many streams there are, `AT_ONCE` of them are open and hold some thousand messages each. Knows nothing of
exports.
"""

import heapq
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO

import msgspec

from data.sources.base import SourceError

AT_ONCE = 16  # streams merged at a time
_TOGETHER = 1_000  # messages written and read at a time
_SIZE = struct.Struct("<I")

Version = tuple[int, int, int, bytes, int]
"""(id, time of its last edit, time of its export, record, place of its part in the month): the greatest one counts."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Version]).decode


def merged(streams: Sequence[Iterator[Version]]) -> Iterator[Version]:
    """The version that counts of each message, by id. Each stream has a message once, by id.

    Raises SourceError when there is no room for temporary files.
    """
    waiting = list(streams)
    while len(waiting) > AT_ONCE:
        waiting = [*waiting[AT_ONCE:], stored(_greatest(waiting[:AT_ONCE]))]
    return _greatest(waiting)


def _greatest(streams: Iterable[Iterator[Version]]) -> Iterator[Version]:
    last: Version | None = None
    for version in heapq.merge(*streams):
        if last is not None and last[0] != version[0]:
            yield last
        last = version
    if last is not None:
        yield last


def stored(versions: Iterator[Version]) -> Iterator[Version]:
    """The same versions from a temporary file, into which they are written at once."""
    try:
        file = tempfile.TemporaryFile(prefix="textmill-")  # noqa: SIM115  closed by the stream that reads it
    except OSError as error:
        raise _no_room(error) from error
    while some := list(islice(versions, _TOGETHER)):
        data = _encode(some)
        try:
            file.write(_SIZE.pack(len(data)) + data)
            file.flush()
        except OSError as error:
            raise _no_room(error) from error
    return _read(file)


def _no_room(error: OSError) -> SourceError:
    return SourceError(
        f"Exports are merged in temporary files, which cannot be written ({error.strerror}). Name a roomier folder in "
        "the environment variable TMPDIR."
    )


def _read(file: IO[bytes]) -> Iterator[Version]:
    with file:
        file.seek(0)
        while size := file.read(_SIZE.size):
            yield from _decode(file.read(_SIZE.unpack(size)[0]))
