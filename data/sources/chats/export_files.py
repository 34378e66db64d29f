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

import msgspec

from data.sources.base import Problem, SourceError
from data.sources.chats.export_index import FileIndex, index_file
from data.sources.chats.merge import Month, month_lines, months_of
from data.sources.chats.spare import Spare
from data.sources.listing import Listing, list_files, marks_of, name_of, path_of

INDEX_FORMAT = 1  # of memo entries; raised when records or segments change their meaning
_SETTLED_NS = 2_000_000_000  # a file that has been left alone for so long shows a later change in its times
SPARE_BYTES = 64_000_000  # of records that this process keeps in memory from its latest looks
SPARE_FILE_BYTES = 4_000_000_000  # and in a temporary file; an export has five times as many
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
spare = Spare(SPARE_BYTES, SPARE_FILE_BYTES)
_keeping = threading.Lock()
_looking_again = threading.Lock()


def look_at(place: Path, silence_minutes: float, memo: Any = None) -> Exports:
    """List and index what lies at `place`, a folder or a file. Raises SourceError when that cannot be listed."""
    now = time.time_ns()
    exports, statuses = _listed(place)
    earlier = _Earlier(memo, silence_minutes)
    files: dict[str, Any] = {}
    merges: dict[str, Any] = {}
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
        merge, month = earlier.merge(month, exports.indexes)
        segment = month.settled()
        if segment is None and (merge is None or merge.key != month.key(exports.indexes)):
            merge, month = _merge(month, exports, merge)
        exports.months[month.native_id] = month
        if merge is not None:
            merges[month.native_id] = msgspec.to_builtins(merge)
        if segment is not None:
            exports.contents[month.native_id] = (segment.size, segment.sha256)
        elif merge is not None:
            exports.contents[month.native_id] = (merge.size, merge.sha256)
    exports.problems.sort(key=lambda problem: (problem.where, problem.what))
    exports.memo = {"format": INDEX_FORMAT, "silence": silence_minutes, "files": files, "merges": merges}
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
            return Exports(place, True, {name: marks_of(listing.files[name])}), listing.files
        listing = list_files(place, is_wanted)
    except FileNotFoundError:
        raise SourceError(f"{place} does not exist. Put the exports there, or correct the path.") from None
    except OSError as error:
        raise SourceError(f"{place} cannot be listed: {error.strerror}.") from error
    marks = {name: marks_of(status) for name, status in listing.files.items()}
    return Exports(place, False, marks, problems=listing.problems, complete=listing.complete), listing.files


class Merge(msgspec.Struct):
    """What merging a month has given, so that it need not be merged again.

    key           of the month as it was merged, without idle parts
    size, sha256  of its records
    used, idle    by digest, the parts that records come from and those that add nothing to them; with each the time of
                  its export
    """

    key: str
    size: int
    sha256: str
    used: dict[str, int]
    idle: dict[str, int]

    def idle_of(self, exported: Mapping[str, int]) -> dict[str, int]:
        """The parts that add nothing to others, given the times of those that are there now.

        A newer export of the same records makes used parts count more, never less, but idle ones perhaps enough.
        """
        if any(exported.get(sha256, -1) < time for sha256, time in self.used.items()):
            return {}
        return {sha256: time for sha256, time in self.idle.items() if 0 <= exported.get(sha256, -1) <= time}


def _times(month: Month, indexes: Mapping[str, FileIndex]) -> dict[str, int]:
    return {part.sha256: indexes[name].exported for name, part in month.parts}


def _merge(month: Month, exports: Exports, earlier: Merge | None) -> tuple[Merge, Month]:
    """Merge the parts of a month; returns the month without those that add nothing. Raises SourceError."""
    digest = hashlib.sha256()
    size = 0
    used: set[str] = set()
    records: list[bytes] = []
    try:
        for lines in month_lines(month, exports.indexes, exports, used):
            digest.update(lines)
            size += len(lines)
            records.append(lines)
            if size > spare.limit:
                records.clear()
    except OSError as error:
        raise SourceError(
            f"The exports of {month.native_id} in {exports.place} cannot be read any more ({error.strerror}). Put them "
            "back, and run again."
        ) from error
    sha256 = digest.hexdigest()
    if size <= spare.limit:
        spare.put(sha256, records)
    idle = {part.sha256 for _, part in month.parts if part.sha256 not in used and month.has_all_of(part)}
    left = month.without(idle)
    times = _times(month, exports.indexes)
    all_idle = {one: times[one] for one in idle} | (earlier.idle if earlier else {})
    return Merge(left.key(exports.indexes), size, sha256, _times(left, exports.indexes), all_idle), left


class _Earlier:
    """A memo, which may be anything."""

    def __init__(self, memo: Any, silence_minutes: float) -> None:
        known = memo if isinstance(memo, dict) else {}
        if known.get("format") != INDEX_FORMAT or known.get("silence") != silence_minutes:
            known = {}
        self._files = known.get("files")
        self._merges = known.get("merges")

    def index(self, name: str, marks: Sequence[int]) -> FileIndex | None:
        try:
            entry = self._files[name]  # type: ignore[index]
            return FileIndex.from_json(entry[1]) if entry[0] == marks else None
        except (TypeError, KeyError, ValueError, IndexError, AttributeError):
            return None

    def merge(self, month: Month, indexes: Mapping[str, FileIndex]) -> tuple[Merge | None, Month]:
        """What is known of merging a month, as far as it still holds, and the month without the parts it makes idle."""
        try:
            known = msgspec.convert(self._merges[month.native_id], Merge)  # type: ignore[index]
        except (TypeError, KeyError, msgspec.ValidationError):
            return None, month
        idle = known.idle_of(_times(month, indexes))
        if known.idle and not idle:
            return None, month
        return msgspec.structs.replace(known, idle=idle), month.without(idle)
