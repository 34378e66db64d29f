"""The exports below a folder, or one export: listed, indexed once, and opened again by name.

Indexing reads a whole file, so it is done once per file: a memo keeps the indexes of files that were not touched since
(see ranges.Memo for the reasoning), and this process keeps those of the latest look, which fetching uses.
"""

import hashlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from data.sources.base import Problem, SourceError
from data.sources.chats.export_index import FileIndex, index_file
from data.sources.chats.merge import Month, month_lines, months_of
from data.sources.chats.spare import Spare
from data.sources.listing import Listing, list_files, name_of, path_of

INDEX_FORMAT = 1  # of memo entries; raised when records or segments change their meaning
_SETTLED_NS = 2_000_000_000  # a file that has been left alone for so long shows a later change in its times
SPARE_BYTES = 64_000_000  # of records that this process keeps from its latest looks
_PLACES = 8  # whose indexes this process keeps


@dataclass
class Exports:
    """What lies at a place. `sizes` and `digests` are those of the records of `months`, in their order."""

    place: Path
    is_file: bool
    marks: dict[str, list[int]]
    indexes: dict[str, FileIndex] = field(default_factory=dict)
    months: dict[str, Month] = field(default_factory=dict)
    contents: dict[str, tuple[int, str]] = field(default_factory=dict)  # native id -> bytes, sha256
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    memo: dict[str, Any] = field(default_factory=dict)

    def open(self, name: str) -> BinaryIO:
        """Open an export for reading."""
        if self.is_file:
            return self.place.open("rb")
        return open(os.path.join(os.fsencode(self.place), path_of(name)), "rb")


_latest: dict[tuple[Path, float], Exports] = {}
spare = Spare(SPARE_BYTES)
_keeping = threading.Lock()
_looking_again = threading.Lock()


def look_at(place: Path, silence_minutes: float, memo: Any = None) -> Exports:
    """List and index what lies at `place`, a folder or a file. Raises SourceError when that cannot be listed."""
    now = time.time_ns()
    exports, statuses = _listed(place)
    earlier = _Earlier(memo, silence_minutes)
    files: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for name, status in sorted(statuses.items()):
        index = earlier.index(name, exports.marks[name])
        if index is None:
            try:
                with exports.open(name) as file:
                    index = index_file(file, status.st_size, silence_minutes, spare)
            except OSError as error:
                exports.problems.append(Problem("unreadable", name, f"{error.strerror}"))
                continue
        exports.indexes[name] = index
        exports.problems += index.named_problems(name)
        if max(status.st_mtime_ns, status.st_ctime_ns) < now - _SETTLED_NS:
            files[name] = [exports.marks[name], index.as_json()]
    for month in months_of(exports.indexes):
        segment = month.settled()
        if segment is not None:
            content = (segment.size, segment.sha256)
        else:
            key = month.key(exports.indexes)
            content = earlier.merged(key) or _content(month, exports)
            merged[key] = list(content)
        exports.months[month.native_id] = month
        exports.contents[month.native_id] = content
    exports.problems.sort(key=lambda problem: (problem.where, problem.what))
    exports.memo = {"format": INDEX_FORMAT, "silence": silence_minutes, "files": files, "merged": merged}
    with _keeping:
        _latest.pop((place, silence_minutes), None)
        _latest[place, silence_minutes] = exports
        if len(_latest) > _PLACES:
            del _latest[next(iter(_latest))]
    return exports


def latest_look(place: Path, silence_minutes: float) -> Exports:
    """What the last look of this process found, if the files are as they were; else another look, one at a time."""
    marks = _listed(place)[0].marks
    with _looking_again:
        with _keeping:
            known = _latest.get((place, silence_minutes))
        return known if known is not None and known.marks == marks else look_at(place, silence_minutes)


def is_wanted(name: str) -> bool:
    """Whether a file of this name may be an export."""
    return name.lower().endswith(".json")


def _listed(place: Path) -> tuple[Exports, Mapping[str, os.stat_result]]:
    try:
        if place.is_file():
            name = name_of(os.fsencode(place.name))
            listing = Listing({name: place.stat()})
            return Exports(place, True, {name: _marks(listing.files[name])}), listing.files
        listing = list_files(place, is_wanted)
    except FileNotFoundError:
        raise SourceError(f"{place} does not exist. Put the exports there, or correct the path.") from None
    except OSError as error:
        raise SourceError(f"{place} cannot be listed: {error.strerror}.") from error
    marks = {name: _marks(status) for name, status in listing.files.items()}
    return Exports(place, False, marks, problems=listing.problems, complete=listing.complete), listing.files


def _marks(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _content(month: Month, exports: Exports) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    for lines in month_lines(month, exports.indexes, exports):
        digest.update(lines)
        size += len(lines)
    return size, digest.hexdigest()


class _Earlier:
    """A memo, which may be anything."""

    def __init__(self, memo: Any, silence_minutes: float) -> None:
        known = memo if isinstance(memo, dict) else {}
        if known.get("format") != INDEX_FORMAT or known.get("silence") != silence_minutes:
            known = {}
        self._files = known.get("files")
        self._merged = known.get("merged")

    def index(self, name: str, marks: Sequence[int]) -> FileIndex | None:
        try:
            entry = self._files[name]  # type: ignore[index]
            return FileIndex.from_json(entry[1]) if entry[0] == marks else None
        except (TypeError, KeyError, ValueError, IndexError, AttributeError):
            return None

    def merged(self, key: str) -> tuple[int, str] | None:
        try:
            size, sha256 = self._merged[key]  # type: ignore[index]
            return int(size), str(sha256)
        except (TypeError, KeyError, ValueError, AttributeError):
            return None
