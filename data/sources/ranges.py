"""Large files as several items, so that the memory of later stages and the work after an appended line stay bounded.

A plain file over `RANGE_BYTES` is cut at line ends into ranges that depend only on what stands before their ends:
appending changes the last range or adds new ones. A table is cut between its rows, and each range has the header in
front. UTF-16 and UTF-32 files are left whole, and so is whatever cannot be cut, compressed files among them.
"""

import codecs
import hashlib
import os
from dataclasses import dataclass
from io import BufferedReader
from itertools import pairwise
from typing import Any, Literal

from data.formats.tables import DELIMITERS, row_ends
from data.sources.listing import marks_of

RANGE_BYTES = 64_000_000
_SMALL_BYTES = 1 << 18  # a file under this is read at once
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_SETTLED_NS = 2_000_000_000  # a file that has been left alone for so long shows a later change in its times


@dataclass(frozen=True)
class Range:
    """A part of a file in bytes, and the `content_fingerprint` of that part.

    header  the first so many bytes of the file belong to the part as well, before the others
    """

    start: int
    size: int
    fingerprint: str
    header: int = 0


class Memo:
    """Ranges of files as an earlier look found them; they hold as long as a file's size, times and inode do.

    now  nanoseconds since the epoch, from before the first file is read
    """

    def __init__(self, earlier: Any, now: int) -> None:
        self._earlier = earlier if isinstance(earlier, dict) else {}
        self._now = now
        self.entries: dict[str, Any] = {}  # JSON-able; what the next look may rely on

    def get(self, name: str, status: os.stat_result) -> list[Range] | None:
        """The ranges of a file that has not been touched since, or None."""
        entry = self._earlier.get(name)
        try:
            marks, ranges = entry or (None, ())
            found = [
                Range(int(start), int(size), str(fingerprint), *map(int, header))
                for start, size, fingerprint, *header in ranges
            ]
        except (TypeError, ValueError):
            return None
        if marks != marks_of(status):
            return None
        self.entries[name] = entry
        return found

    def put(self, name: str, status: os.stat_result, ranges: list[Range]) -> None:
        """Remember the ranges of a file, unless it was touched so recently that its times might not show a change.

        status  from before the file was read
        """
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._now - _SETTLED_NS:
            known = [
                [part.start, part.size, part.fingerprint, *([part.header] if part.header else [])] for part in ranges
            ]
            self.entries[name] = [marks_of(status), known]


Way = Literal["whole", "lines", "csv", "tsv"]


def cut_file(file: BufferedReader, way: Way) -> list[Range]:
    """The ranges of an open file, from its beginning to its end; one of no bytes if it is empty. Reads all of it.

    way  where it may be cut: nowhere, at line ends, or between the rows of a table

    Memory: `RANGE_BYTES` when the file is that large, else next to nothing.
    """
    if os.fstat(file.fileno()).st_size < min(_SMALL_BYTES, RANGE_BYTES):
        data = file.read()
        return [Range(0, len(data), hashlib.sha256(data).hexdigest())]
    is_wide = file.read(4).startswith(_WIDE_MARKS)
    file.seek(0)
    if way == "whole" or is_wide or os.fstat(file.fileno()).st_size < RANGE_BYTES:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        return [Range(0, file.tell(), fingerprint)]
    if way != "lines":
        return _table_ranges(file, DELIMITERS if way == "csv" else "\t")
    ranges = []
    start = 0
    while block := file.read(RANGE_BYTES):
        size = _last_line_end(block) if len(block) == RANGE_BYTES else len(block)
        ranges.append(Range(start, size, hashlib.sha256(memoryview(block)[:size]).hexdigest()))
        start += size
        file.seek(start)
    return ranges


def _last_line_end(block: bytes) -> int:
    """Where to cut: after the last line, or before the last character, in UTF-8, when a line is longer than that."""
    end = block.rfind(b"\n") + 1
    if end:
        return end
    end = len(block) - 1
    while end > len(block) - 4 and block[end] & 0xC0 == 0x80:  # a byte that continues a character
        end -= 1
    return end


def _table_ranges(file: BufferedReader, delimiters: str) -> list[Range]:
    """The ranges of a table; what is no table any more from some place on is one range from there."""
    size = os.fstat(file.fileno()).st_size
    ends = row_ends(file, delimiters)
    header = next(ends, size)
    cuts, before = [0], header
    for end in ends:
        if end - cuts[-1] + (header if len(cuts) > 1 else 0) > RANGE_BYTES and before > max(cuts[-1], header):
            cuts.append(before)
        before = end
    file.seek(0)
    first = file.read(header) if len(cuts) > 1 else b""
    file.seek(0)
    ranges = []
    for start, end in pairwise([*cuts, size]):
        digest = hashlib.sha256(first if start else b"")
        left = end - start
        while left and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        ranges.append(Range(start, end - start, digest.hexdigest(), len(first) if start else 0))
    return ranges
