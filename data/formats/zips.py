"""Zip archives, opened with care: for .zip itself, and for books and Word documents, which are zip archives, too."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO

from data.formats.base import CannotReadError

_CHUNK = 1 << 18
_DIRECTORY_BYTES = 50_000_000  # some 500,000 members, which take 400 MB of memory
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError)


def open_zip(content: IO[bytes] | BinaryIO) -> zipfile.ZipFile:
    """Open an archive. Raises CannotReadError when it is none, or has too many members."""
    try:
        if _directory_bytes(content) > _DIRECTORY_BYTES:
            raise CannotReadError("too_large", f"its directory is larger than {_DIRECTORY_BYTES} bytes")
        return zipfile.ZipFile(content)
    except (*_ZIP_ERRORS, struct.error, UnicodeError) as error:
        raise CannotReadError("damaged", f"no zip archive: {error}") from error


def _directory_bytes(content: IO[bytes] | BinaryIO) -> int:
    """How long the directory of an archive says that it is; 0 when that is nowhere to be found."""
    size = content.seek(0, 2)
    content.seek(max(0, size - 66_000))
    tail = content.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        return 0
    (length,) = struct.unpack_from("<L", tail, at + 12)
    if length < 0xFFFFFFFF:
        return int(length)
    if at < 20 or tail[at - 20 : at - 16] != b"PK\6\7":
        return 0
    (place,) = struct.unpack_from("<Q", tail, at - 12)
    content.seek(min(place, size))
    record = content.read(56)
    return int(struct.unpack_from("<Q", record, 40)[0]) if len(record) == 56 else 0


def zip_chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member. Raises CannotReadError when they are damaged."""
    try:
        with archive.open(info) as member:
            while chunk := member.read(_CHUNK):
                yield chunk
    except NotImplementedError as error:
        raise CannotReadError("unsupported", f"packed in a way that is not read: {error}") from error
    except _ZIP_ERRORS as error:
        raise CannotReadError("damaged", f"the archive is damaged here: {error}") from error
