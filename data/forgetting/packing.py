"""Compression of what was taken apart to lose something, as streams."""

import bz2
import lzma
import zlib
from typing import Protocol

import zstandard

LEVEL = 9  # of .zst: a window of 8 MB; dumps as they come are packed tighter, and much slower


class Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def packer_for(compression: str | None) -> Packer:
    """What compresses a file anew."""
    if compression == ".zst":
        packer: Packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    elif compression == ".gz":
        packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    elif compression == ".bz2":
        packer = bz2.BZ2Compressor()
    elif compression == ".xz":
        packer = lzma.LZMACompressor()
    else:
        packer = _Plain()
    return packer
