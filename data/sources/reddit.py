"""Reddit dumps (Pushshift's, and what others make of them): threads put together again, or single posts.

An item is what belongs together in the folder: the comments and submissions of a month (RC_2023-01.zst and
RS_2023-01.zst) or of a subreddit (name_comments.zst and name_submissions.zst), fetched as they came. A thread is joined
within its item only: comments whose submission is not in it, because that was written in another month or is missing,
make a document without a title. Which of a file's lines are comments is told by their keys, not by its name.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from data.facts import Facts, Progress, no_progress
from data.formats.decompression import COMPRESSIONS
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.chats.pseudonyms import PseudonymSettings
from data.sources.dumps.reading import Reading
from data.sources.listing import Listing, list_files, name_of, path_of
from data.sources.pack import CHUNK, ChangedSinceLookError, EarlierPacks, PackReader, PackWriter, read_items
from data.sources.ranges import Memo, Range, cut_file
from data.sources.settings import LocalPath, PathSettings

_LINES = (".ndjson", ".jsonl", ".json")
_WANTED = (*_LINES, *COMPRESSIONS)
_MAX_NAMED = 20  # problems named in one error


class RedditConfig(PseudonymSettings, PathSettings, SourceConfig):
    """Reddit dumps, by month (RC_2023-01.zst, RS_2023-01.zst) or by subreddit, also as .ndjson or otherwise packed."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    personal: ClassVar[bool] = True
    needs: ClassVar[str] = "dump files, room to put threads together, and a secret to make authors' names with"
    rights: ClassVar[str] = (
        "posts belong to their authors, and Reddit's terms limit their use: yours to know; set `licence`"
    )
    example: ClassVar[Mapping[str, Any]] = {"kind": "reddit", "path": "reddit-dumps", "subreddits": ["AskHistorians"]}

    kind: Literal["reddit"] = "reddit"
    path: LocalPath = Field(
        description="The folder of dumps (.zst .gz .bz2 .xz .ndjson .jsonl .json, also in folders below), or one file; "
        "a relative path is below the project's root.",
    )
    documents: Literal["threads", "posts"] = Field(
        "threads",
        alias="as",
        description="What becomes a document. threads: a submission with its comments. posts: each submission and "
        "each comment by itself.",
    )
    subreddits: tuple[str, ...] = Field(
        (), description="Names of the subreddits that are read, whatever their case; none: all."
    )
    minimum_score: int | None = Field(
        None,
        description="Posts with a lower score are left out, a submission together with its thread where those are "
        "documents; null: none. Scores of one month can be compared, those of different months hardly.",
    )
    maximum_depth: int = Field(
        10, ge=1, description="Comments that are answers to answers more than this deep are left out of threads."
    )

    @field_validator("subreddits")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """In lower case and without r/, sorted, so that two ways to write a choice make one key."""
        plain = {name.lower().removeprefix("/").removeprefix("r/") for name in names}
        for name in plain:
            if not re.fullmatch(r"[a-z0-9_-]{2,40}", name):
                raise ValueError(f"{name!r} is no name of a subreddit; write them like AskHistorians")
        return tuple(sorted(plain))

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def reading_identity(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "reader": 2,
            "as": self.documents,
            "subreddits": list(self.subreddits),
            "minimum_score": self.minimum_score,
            "maximum_depth": self.maximum_depth,
            **self.pseudonym_identity(),
        }

    def look(self, root: Path, memo: Any = None) -> Look:
        """One item per month or subreddit. With a memo, files that were not touched are not read again."""
        self.pseudonym_identity()  # a secret that is missing is better missed before hours of fetching
        place = self.place(root)
        known = Memo(memo, time.time_ns())
        listing = _listed(place, self.path)
        problems = list(listing.problems)
        groups: dict[str, list[tuple[str, Range]]] = {}
        for name, status in sorted(listing.files.items()):
            try:
                ranges = known.get(name, status) or _whole(place, name, known)
            except OSError as error:
                problems.append(Problem("unreadable", name, f"{error.strerror}"))
                continue
            groups.setdefault(item_name(name), []).append((name, ranges[0]))
        if not groups:
            found = "; ".join(str(problem) for problem in problems[:_MAX_NAMED]) or "it is empty"
            raise SourceError(
                f"{place} (path: {self.path!r}) holds no dump that can be read ({found}). Put files there such as "
                f"RC_2023-01.zst and RS_2023-01.zst; endings that are read: {' '.join(_WANTED)}."
            )
        items = [_item(native_id, files) for native_id, files in sorted(groups.items())]
        return Look(tuple(items), tuple(problems), listing.complete, known.entries)

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Copy the files as they are, those of an item one after the other."""
        place = self.place(root)
        kept = cache(lambda: EarlierPacks(earlier))
        with PackWriter(out, sum(item.size for item in items), progress) as pack:
            for item in items:
                before = None if _can_be_read(place, item) else kept().find(item)
                if before is not None and before.sifted is not None:  # whose files have other sizes than upstream's
                    pack.add(replace(item, meta=before.meta), kept().chunks(item) or (), check=False, sifted=True)
                else:
                    pack.add(item, _content(place, item, kept), check=False)  # each file is checked by itself
        return Facts(counts={"items": pack.items, "bytes": pack.bytes}, licences=[self.licence])

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """The threads or posts of each item. A document's id is the item's and that of the submission or the comment,
        with `~2`, `~3`... for later parts of a thread that is too long for one document.
        """
        reading = Reading(
            self.names("reddit"), self.documents == "threads", self.subreddits, self.minimum_score, self.maximum_depth
        )
        with PackReader(raw) as reader:
            for item in read_items(raw):
                yield from reading.documents(item, reader.chunks(item))
        if summary := reading.summary():
            note(summary)


def is_wanted(name: str) -> bool:
    """Whether a file of this name is read."""
    return name.lower().endswith(_WANTED)


def item_name(name: str) -> str:
    """The item to which a file belongs: its name without what tells comments from submissions, and without endings."""
    folder, slash, file = name.rpartition("/")
    for endings in (COMPRESSIONS, _LINES):
        file = next((file[: -len(ending)] for ending in endings if file.lower().endswith(ending)), file)
    return folder + slash + (re.sub(r"(?i)^r[cs]_(?=.)|(?<=.)_(comments|submissions)$", "", file) or "_")


def _listed(place: Path, path: str) -> Listing:
    try:
        if place.is_file():
            return Listing({name_of(os.fsencode(place.name)): place.stat()})
        return list_files(place, is_wanted)
    except FileNotFoundError:
        raise SourceError(
            f"{place} (path: {path!r}) does not exist. Put the dumps there, or correct the path."
        ) from None
    except OSError as error:
        raise SourceError(f"{place} (path: {path!r}) cannot be listed: {error.strerror}.") from error


def _path(place: Path, name: str) -> bytes:
    return os.fsencode(place) if place.is_file() else os.path.join(os.fsencode(place), path_of(name))


def _whole(place: Path, name: str, memo: Memo) -> list[Range]:
    with open(_path(place, name), "rb") as file:
        status = os.fstat(file.fileno())
        ranges = cut_file(file, "whole")  # a dump is not cut: its lines belong together
    memo.put(name, status, ranges)
    return ranges


def _item(native_id: str, files: Sequence[tuple[str, Range]]) -> Item:
    parts = [[name, part.size, part.fingerprint] for name, part in files]
    fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()
    return Item(native_id, fingerprint, sum(part.size for _, part in files), meta={"files": parts})


def _can_be_read(place: Path, item: SlotItem) -> bool:
    """Whether all of an item's files can be opened."""
    try:
        for name, _, _ in item.meta["files"]:
            open(_path(place, name), "rb").close()
    except OSError:
        return False
    return True


def _content(place: Path, item: SlotItem, kept: Callable[[], EarlierPacks]) -> Iterator[bytes]:
    """The bytes of an item's files; as an earlier slot has them, if the first is not there any more."""
    begun = False
    for name, size, fingerprint in item.meta["files"]:
        digest = hashlib.sha256()
        left = size
        try:
            with open(_path(place, name), "rb") as file:
                while left and (chunk := file.read(min(left, CHUNK))):
                    begun = True
                    left -= len(chunk)
                    digest.update(chunk)
                    yield chunk
        except OSError as error:
            chunks = None if begun else kept().chunks(item)
            if chunks is None:
                raise SourceError(
                    f"{name} cannot be read any more ({error.strerror}), and no slot fetched earlier has it as it was "
                    "seen. Put it back; or, if it is gone for good, set mirror to true for its source. Then run again."
                ) from error
            yield from chunks
            return
        if digest.hexdigest() != fingerprint:
            raise ChangedSinceLookError(
                f"{name} changed while this run was reading it: {size} bytes with digest {fingerprint[:12]} were seen, "
                f"{size - left} bytes with digest {digest.hexdigest()[:12]} were read. Run again when it is no longer "
                "being written."
            )
