"""Decompressing a stream of bytes, within bounds: .gz, .bz2, .xz and .zst, members and frames one after the other.

A stream that grows over `BOMB_BYTES` and over `BOMB_RATIO` times what has been read of it is given up. Memory: some
32 MB at most, the window of the format aside, which may be up to 128 MiB. Knows nothing of files and text.
"""

import bz2
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import zstandard

BOMB_BYTES = 64_000_000  # whatever a stream's ratio, it may grow to this
BOMB_RATIO = 200  # decompressed bytes per compressed byte; text compresses by 3 to 20, logs by up to 100
WINDOW_BYTES = 1 << 27  # memory that a stream may ask for to be decompressed
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")

_PIECE = 1024  # compressed bytes taken at a time, so that what they grow to stays small in memory
_BATCH = 1 << 18  # decompressed bytes handed out at a time, at least
_GROWTH = 1 << 22  # decompressed bytes taken from a .bz2 or .xz member at a time, at most


class CannotDecompressError(Exception):
    """A stream that is damaged, cut, or larger than allowed: `what` in one word, `why` in a sentence."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what
        self.why = why


def decompress(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """The decompressed bytes of a stream, in chunks.

    compression  one of `COMPRESSIONS`
    Raises CannotDecompressError, after what could be decompressed has been handed out.
    """
    try:
        yield from _decompress(chunks, compression)
    except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError, zstandard.ZstdError, MemoryError) as error:
        raise CannotDecompressError("damaged", f"the {compression} data are damaged: {error}") from error


def _decompress(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    member: Any = None
    seen = grown = 0
    batch: list[bytes] = []
    waiting = 0
    for piece in _pieces(chunks):
        seen += len(piece)
        rest = piece
        while rest:
            if member is None:
                rest = rest.lstrip(b"\0") if grown else rest  # padding between members and after the last
                if not rest:
                    break
                member = _member(compression)
            for text in _grow(member, rest):
                grown += len(text)
                if grown > max(BOMB_BYTES, BOMB_RATIO * seen):
                    raise CannotDecompressError(
                        "decompression_bomb",
                        f"{seen} bytes have grown to {grown}; {BOMB_BYTES} bytes or {BOMB_RATIO} times are allowed",
                    )
                waiting += len(text)
                batch.append(text)
                if waiting >= _BATCH:
                    yield b"".join(batch)
                    batch, waiting = [], 0
            rest = member.unused_data if member.eof else b""
            if member.eof:
                member = None
    yield b"".join(batch)
    if member is not None or not seen:
        raise CannotDecompressError("cut", f"the {compression} data end early, after {seen} bytes")


def _grow(member: Any, compressed: bytes) -> Iterator[bytes]:
    """What one piece of a member becomes, a bounded number of bytes at a time."""
    if isinstance(member, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        yield member.decompress(compressed, _GROWTH)
        while not member.eof and not member.needs_input:
            yield member.decompress(b"", _GROWTH)
    else:
        yield member.decompress(compressed)  # at most 1,032 times the piece in .gz, 32,768 times in .zst


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE):
            yield chunk[start : start + _PIECE]


def _member(compression: str) -> Any:
    """A decompressor for the next member: `decompress(bytes)`, `eof`, `unused_data`."""
    if compression == ".gz":
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    if compression == ".bz2":
        return bz2.BZ2Decompressor()
    if compression == ".xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW_BYTES)
    return zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj()
