"""Items of a dataset on the hub: its files, whole or in parts, each with a fingerprint that names content, not commits.

A Parquet file that is fetched by ranges is cut by row groups, for which its footer is read once; a large plain JSONL
file is cut at bytes, and a part begins with the first line that begins in it. CSV is left whole, because a line end may
stand inside of a field and only reading from the file's beginning tells; compressed files are, too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any, Literal
from urllib.parse import quote

from data.facts import counted
from data.sources.base import Item, Problem, SourceError
from data.sources.hub.client import Hub, HubFile, NoPartsError
from data.sources.hub.files import kind_of
from data.sources.hub.parquet_pieces import (
    FOOTER_TAIL,
    DamagedParquetError,
    Groups,
    cut,
    footer_length,
    groups_of,
    parse_footer,
)
from data.sources.hub.rows import wrong_column

Route = Literal["auto", "file", "ranges"]
PART = "part"  # key in an item's meta; what it holds is for fetching and reading, not for documents
_TAIL_BYTES = 1 << 16  # asked for at a file's end, in the hope that the footer is no longer
_AT_ONCE = 8  # footers
_FORM = 1  # of fetched content; raised when the same part would be fetched as other bytes


@dataclass(frozen=True)
class Plan:
    """How files become items.

    columns        to be fetched of Parquet, the text column first
    piece_bytes    large files are cut into parts of about so many
    max_bytes      what lies beyond twice so many is not even looked at, None: everything is
    max_documents  rows that are wanted in all, in order of files and rows; None: all
    """

    columns: tuple[str, ...]
    route: Route
    piece_bytes: int
    max_bytes: int | None
    max_documents: int | None
    dataset: str


class Footers:
    """What the footers of Parquet files say, by content; those read once before are in `known`, as JSON."""

    def __init__(self, hub: Hub, columns: Sequence[str], known: Any) -> None:
        self._hub = hub
        self._columns = columns
        self._known = known if isinstance(known, dict) else {}
        self.entries: dict[str, Any] = {}  # JSON-able; what the next look may rely on

    def read(
        self, files: Iterable[HubFile], is_needed: Callable[[HubFile], bool]
    ) -> dict[str, Groups | DamagedParquetError]:
        """What is known of each file, by path; what is not is asked for, several at once.

        Where the hub serves whole files only, files whose footer is not needed are left out.
        """
        asked = list(files)

        def one(file: HubFile) -> Groups | DamagedParquetError | None:
            try:
                return self._one(file)
            except NoPartsError:
                if is_needed(file):
                    raise
                return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = zip(asked, pool.map(one, asked), strict=True)
            return {file.path: said for file, said in found if said is not None}

    def _one(self, file: HubFile) -> Groups | DamagedParquetError:
        entry: Any = self._known.get(file.oid)
        with suppress(TypeError, ValueError, KeyError):
            if "damaged" in entry:
                self.entries[file.oid] = {"damaged": str(entry["damaged"])}
                return DamagedParquetError(str(entry["damaged"]))
            groups = Groups(
                tuple(map(str, entry["columns"])),
                tuple(map(str, entry["missing"])),
                tuple(map(int, entry["rows"])),
                tuple(map(int, entry["bytes"])),
                int(entry["footer"]),
            )
            self.entries[file.oid] = entry
            return groups
        try:
            footer = read_footer(self._hub, file)
            groups = groups_of(parse_footer(footer), len(footer), self._columns)
        except DamagedParquetError as error:
            self.entries[file.oid] = {"damaged": str(error)}
            return error
        self.entries[file.oid] = {
            "columns": groups.columns,
            "missing": groups.missing,
            "rows": groups.rows,
            "bytes": groups.bytes,
            "footer": groups.footer,
        }
        return groups


_footers: dict[tuple[str, str], bytes] = {}
_footers_lock = Lock()
_FOOTERS_BYTES = 32_000_000  # kept in this process, so that parts of one file do not each ask for its footer


def read_footer(hub: Hub, file: HubFile) -> bytes:
    """The whole footer of a Parquet file. Raises DamagedParquetError."""
    with _footers_lock:
        footer = _footers.get((hub.dataset, file.oid))
    if footer is not None:
        return footer
    start = max(0, file.size - _TAIL_BYTES)
    tail = b"".join(hub.read(file, start))
    length = footer_length(tail[-FOOTER_TAIL:])
    if length > file.size:
        raise DamagedParquetError(f"its footer claims {length} bytes, but it has {file.size}")
    if length > len(tail):
        tail = b"".join(hub.read(file, file.size - length, start)) + tail
    footer = tail[-length:]
    with _footers_lock:
        _footers[hub.dataset, file.oid] = footer
        while sum(map(len, _footers.values())) > _FOOTERS_BYTES:
            _footers.pop(next(iter(_footers)))
    return footer


@dataclass
class Listed:
    """What became of the files."""

    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    bytes: int = 0
    rows: int = 0


def list_items(files: Sequence[HubFile], footers: Footers, plan: Plan) -> Listed:
    """The items of files, which are sorted by path. Raises SourceError when `max_documents` cannot be counted."""
    if plan.max_documents is not None and (other := [one for one in files if not _is_parquet(one)]):
        raise SourceError(
            f"max_documents counts rows by the footers of Parquet files, but {other[0].path} is none. Set max_bytes."
        )
    listed = Listed()
    is_needed = partial(_wants_footer, plan=plan)
    left = iter(files)
    ask_all = False
    while batch := list(islice(left, 2 * _AT_ONCE)):
        # The first file of all tells whether the columns are right; if they are not, all files are asked.
        wanted = [one for one in batch if ask_all or one is files[0] or is_needed(one)]
        said = footers.read(filter(_is_parquet, wanted), is_needed)
        if not ask_all and any(isinstance(one, DamagedParquetError) or one.missing for one in said.values()):
            ask_all = True
            said = footers.read(filter(_is_parquet, batch), is_needed)
        for number, file in enumerate(batch):
            if _is_enough(listed, plan):
                beyond = len(batch) - number + sum(1 for _ in left)
                why = f"{counted(beyond, 'file')} beyond max_bytes or max_documents, from {file.path} on"
                listed.problems.append(Problem("left_out", plan.dataset, why))
                return listed
            _add(file, said.get(file.path), listed, plan)
    return listed


def _is_enough(listed: Listed, plan: Plan) -> bool:
    if plan.max_documents is not None and listed.rows >= plan.max_documents:
        return True
    return plan.max_bytes is not None and listed.bytes >= 2 * plan.max_bytes


def _is_parquet(file: HubFile) -> bool:
    return kind_of(file.path) == ("parquet", None)


def _by_ranges(file: HubFile, plan: Plan) -> bool:
    return plan.route == "ranges" or (plan.route == "auto" and file.size > plan.piece_bytes)


def _wants_footer(file: HubFile, plan: Plan) -> bool:
    return _by_ranges(file, plan) or plan.max_documents is not None


def _add(file: HubFile, groups: Groups | DamagedParquetError | None, listed: Listed, plan: Plan) -> None:
    if isinstance(groups, DamagedParquetError):
        listed.problems.append(Problem("damaged", file.path, f"no Parquet file: {groups}"))
        return
    if groups is not None:
        if groups.missing:
            listed.problems.append(Problem("wrong_column", file.path, wrong_column(groups.missing, groups.columns)))
            return
        if not sum(groups.rows):
            listed.problems.append(Problem("empty", file.path, "it has no rows"))
            return
    elif not file.size:
        listed.problems.append(Problem("empty", file.path, "it has no bytes"))
        return
    for item in _items(file, groups, listed.rows, plan):
        listed.items.append(item)
        listed.bytes += item.size
    listed.rows += sum(groups.rows) if groups else 0


def _items(file: HubFile, groups: Groups | None, rows_before: int, plan: Plan) -> Iterator[Item]:
    left = None if plan.max_documents is None else plan.max_documents - rows_before
    if groups is not None and _by_ranges(file, plan):
        for number, (first, end) in enumerate(cut(groups, plan.piece_bytes, left)):
            part: dict[str, Any] = {"groups": [first, end]}
            rows = sum(groups.rows[first:end])
            if left is not None:
                if rows > left:
                    part["rows"] = left
                left -= rows
            yield _item(file, number, sum(groups.bytes[first:end]) + groups.footer, part, plan)
        return
    if kind_of(file.path) == ("jsonl", None) and _by_ranges(file, plan):
        for number, start in enumerate(range(0, file.size, plan.piece_bytes)):
            end = min(start + plan.piece_bytes, file.size)
            yield _item(file, number, end - start, {"bytes": [start, end]}, plan)
        return
    is_cut = left is not None and groups is not None and left < sum(groups.rows)
    yield _item(file, 0, file.size, {"rows": left} if is_cut else {}, plan)


def _item(file: HubFile, number: int, size: int, part: dict[str, Any], plan: Plan) -> Item:
    """The item of a part of a file. The first has the file's name."""
    of = {"path": file.path, "file_bytes": file.size, "sha256": file.sha256, **part}
    columns = f" columns {','.join(map(quote, plan.columns))}" if "groups" in part else ""
    cut_at = "".join(f" {what} {part[what][0]}-{part[what][1]}" for what in ("groups", "bytes") if what in part)
    return Item(
        native_id=file.path if number == 0 else f"{file.path}@{number + 1:04d}",
        fingerprint=f"{file.oid}{cut_at}{columns}{f' form {_FORM}' if part else ''}",
        size=size,
        url=f"hf://datasets/{plan.dataset}@{file.commit}/{quote(file.path)}",  # the same on every mirror
        meta={"commit": file.commit, PART: of},
    )


def file_of(item: Item) -> HubFile:
    """The file that an item is, or is a part of."""
    part = item.meta[PART]
    oid = item.fingerprint.split(" ")[0]
    return HubFile(part["path"], part["file_bytes"], oid, part["sha256"], item.meta["commit"])
