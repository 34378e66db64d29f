"""A file to be read at random: where it lies, if that is possible, else as a copy in memory or in an unnamed file."""

import tempfile
from typing import IO, BinaryIO

from data.formats.base import File

MEMORY_BYTES = 16_000_000  # a copy larger than this goes to a file that has no name and is gone when it is closed


def opened(file: File) -> BinaryIO | IO[bytes]:
    """The bytes of a file, for reading at random. Raises what reading the file raises."""
    if file.seekable is not None:
        return file.seekable()
    copy = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 (the caller closes it)
    try:
        for chunk in file.chunks():
            copy.write(chunk)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy
