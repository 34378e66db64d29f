"""Archives: .zip and .tar, whose members are read by the same rules as files that lie in a folder.

Nothing is unpacked: a member is read from the archive, or from a copy in memory or an unnamed file, and its name is
never a path. So names that would lead out of a folder can do no harm; they are named as problems nevertheless, for
whoever made them, and so are links, encrypted members and archives that lie too deep in each other.
"""

import re
import stat
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import IO, Any, cast

from data.formats.base import UNREADABLE, CannotReadError, File, Found, Reading, Tally
from data.formats.budget import MAX_DEPTH, Budget
from data.formats.kinds import ARCHIVES, is_wanted, kind_of
from data.formats.reading import read_file
from data.formats.spool import MEMORY_BYTES, opened
from data.formats.zips import open_zip, zip_chunks
from data.sources.base import Problem
from data.sources.listing import ending_of, name_of

_CHUNK = 1 << 18
_BLOCKS = 1 << 16  # of a .tar read at a time
_HEADER_BYTES = 1_000_000  # of a .tar: a name, or what its extended headers say of a member


def read_zip(file: File, reading: Reading, tally: Tally) -> Found:
    """The documents of the members, in the order of the archive's directory; ids begin `archive.zip/member`."""
    members = Members(file, reading, tally)
    with opened(file) as content:
        archive = open_zip(content)
        members.budget.has_read(content.seek(0, 2))
        for info in archive.infolist():
            if info.filename.endswith("/"):  # what `is_dir` asks, which fails where there is no name
                continue
            mode = info.external_attr >> 16
            what = "a link" if stat.S_ISLNK(mode) else None
            if info.flag_bits & 1:
                yield from members.refuse(info.filename, "encrypted", "it can be read with a password only")
            else:
                yield from members.read(info.filename, what, partial(zip_chunks, archive, info))
    yield from members.sum_up()


def read_tar(file: File, reading: Reading, tally: Tally) -> Found:
    """The documents of the members, in their order; ids begin `archive.tar/member`. The archive is read once."""
    members = Members(file, reading, tally)
    stream = _Stream(file.chunks())
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=_BLOCKS, tarinfo=_Member) as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # all of them would be kept
                if info.isdir():
                    continue
                what = None if info.isreg() and not info.issparse() else _TAR_KINDS.get(info.type, "no regular file")
                if what is not None:
                    yield from members.read(info.name, what, tuple)
                    continue
                with _Copy(archive, info) as copy:
                    yield from members.read(info.name, None, copy.chunks)
            ending = getattr(archive, "ending", None)
    except UNREADABLE as error:
        yield Problem(error.what, file.name, f"the archive cannot be read any further: {error.why}")
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        yield Problem("damaged", file.name, f"the archive cannot be read any further: {error}")
    else:
        if not isinstance(ending, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            yield Problem("cut", file.name, "the archive has no end, so members may be missing")
    yield from members.sum_up()


_TAR_KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.GNUTYPE_SPARSE: "a file with holes",
    tarfile.REGTYPE: "a file with holes",
}
_TAR_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Member(tarfile.TarInfo):
    """A member whose headers are of bounded size; the archive keeps the error that ended it."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in _TAR_HEADERS and member.size > _HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> "_Member":
        try:
            return super().fromtarfile(tarfile)
        except Exception as error:
            tarfile.ending = error
            raise


class _Stream:
    """Chunks as a file that can only be read on."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        pieces = []
        while size:
            if self._at == len(self._held):
                self._held, self._at = next(self._chunks, b""), 0
                if not self._held:
                    break
            piece = self._held[self._at : self._at + size]
            pieces.append(piece)
            self._at += len(piece)
            size -= len(piece)
        return b"".join(pieces)


class _Copy(AbstractContextManager["_Copy"]):
    """A member that can be read again and again, though the archive is read once: copied when it is first wanted."""

    def __init__(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        self._archive = archive
        self._info = info
        self._copy: IO[bytes] | None = None

    def chunks(self) -> Iterator[bytes]:
        if self._copy is None:
            self._copy = cast(IO[bytes], tempfile.SpooledTemporaryFile(MEMORY_BYTES))  # noqa: SIM115
            member = self._archive.extractfile(self._info)
            while member and (chunk := member.read(_CHUNK)):
                self._copy.write(chunk)
        self._copy.seek(0)
        while chunk := self._copy.read(_CHUNK):
            yield chunk

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._copy is not None:
            self._copy.close()


class Members:
    """Reads the members of one archive, whatever its format, and counts what it passes over."""

    def __init__(self, archive: File, reading: Reading, tally: Tally) -> None:
        self.budget = archive.budget or Budget()
        self._archive = archive
        self._reading = reading
        self._tally = tally
        self._names: Counter[str] = Counter()
        self._passed_over: Counter[str] = Counter()
        if archive.depth >= MAX_DEPTH:
            raise CannotReadError("too_deep", f"an archive in an archive; {MAX_DEPTH} in each other are read")

    def refuse(self, member: str, what: str, why: str) -> Found:
        """A Problem for a member that cannot be read."""
        yield Problem(what, self._name(member), why)

    def read(self, member: str, oddity: str | None, chunks: Callable[[], Iterable[bytes]]) -> Found:
        """The documents of a member.

        oddity  what it is if it is no file, in words
        chunks  starts reading it from its beginning
        """
        parts = re.split(r"[/\\]", member)
        if any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts):
            self._passed_over["hidden files"] += 1
        elif ".." in parts or not parts[0] or re.match("[a-zA-Z]:", member):
            yield from self.refuse(member, "unsafe_path", "its path leads out of the archive")
        elif oddity is not None:
            yield from self.refuse(member, "no_file", f"{oddity}, which is not followed")
        elif not is_wanted(member):
            self._passed_over[f"files of kinds that are not read ({ending_of(member)})"] += 1
        else:
            yield from read_file(self._file(member, chunks), self._reading, self._tally)

    def _name(self, member: str) -> str:
        """The native id of a member: unique, also where an archive has two members of one name."""
        name = f"{self._archive.name}/{name_of(member.encode('utf-8', 'surrogateescape'))}"
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name};{self._names[name]}"

    def _file(self, member: str, chunks: Callable[[], Iterable[bytes]]) -> File:
        kind = kind_of(member)
        is_archive = kind is not None and kind.reader in ARCHIVES.values()
        return replace(
            self._archive,
            name=self._name(member),
            kind_name=member,
            chunks=self.budget.grows(chunks),
            content_type=None,
            position={**self._archive.position, "member": member.encode("utf-8", "backslashreplace").decode()},
            seekable=None,
            budget=self.budget,
            depth=self._archive.depth + is_archive,
        )

    def sum_up(self) -> Found:
        """What was passed over, in one line."""
        if self._passed_over:
            why = ", ".join(f"{count} {reason}" for reason, count in sorted(self._passed_over.items()))
            yield Problem("ignored", self._archive.name, f"passed over: {why}")
