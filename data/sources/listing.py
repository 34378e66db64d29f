r"""Walking a folder: which files are there, under names that survive everything a file system allows.

A name is the path below the folder, with `/` between its parts. Backslashes, control characters and bytes that are no
UTF-8 are spelt `\xNN`, so that every name is one line of valid text and leads back to its file. Hidden files and
folders (`.name`) are skipped. A link is followed when it leads out of the folder, and then each folder is entered only
once; what a link inside the folder points to is read under its own name already. Knows nothing of contents.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data.formats.decompression import COMPRESSIONS
from data.sources.base import Problem

_MAX_KINDS = 10  # endings named when files are ignored


@dataclass
class Listing:
    """What a walk found.

    files     name -> status of each regular file that is wanted
    problems  what could not be read, and how much was passed over, sorted
    complete  false when a folder could not be listed, so that files may be there that are not here
    """

    files: dict[str, os.stat_result] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True


def name_of(path: bytes) -> str:
    """The name of a path below the folder, given as the file system has it."""
    text = path.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return re.sub("[\x00-\x1f\\\\\x7f-\x9f\u2028\u2029\udc80-\udcff]", _spelt, text)


def _spelt(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))


def path_of(name: str) -> bytes:
    """The path below the folder that `name_of` gave this name."""
    if "\\" not in name:
        return name.encode()
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), name.encode())


def list_files(folder: Path, is_wanted: Callable[[str], bool]) -> Listing:
    """All regular files below `folder` whose name (see above) `is_wanted`.

    Raises OSError when `folder` itself cannot be listed.
    """
    walk = _Walk(os.fsencode(folder), is_wanted)
    waiting = walk.entries(b"")
    while waiting:
        at, status = waiting.pop()
        if walk.is_first_visit(status):
            try:
                waiting += walk.entries(at)
            except OSError as error:
                walk.note_problem(at, f"the folder cannot be listed: {error.strerror}")
                walk.listing.complete = False
    walk.sum_up(str(folder))
    walk.listing.problems.sort(key=lambda problem: (problem.where, problem.what))
    return walk.listing


class _Walk:
    """What a walk knows on its way; `at` is always a path below the root, as the file system has it."""

    def __init__(self, root: bytes, is_wanted: Callable[[str], bool]) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.is_wanted = is_wanted
        self.listing = Listing()
        self.passed_over: Counter[str] = Counter()  # by reason
        self.unwanted: Counter[str] = Counter()  # by ending
        status = os.stat(root)
        self.entered = {(status.st_dev, status.st_ino)}

    def is_first_visit(self, status: os.stat_result) -> bool:
        """Whether a folder has not been entered on another way; from now on it has."""
        place = (status.st_dev, status.st_ino)
        if place in self.entered:
            self.passed_over["links to folders that are read already"] += 1
            return False
        self.entered.add(place)
        return True

    def entries(self, at: bytes) -> list[tuple[bytes, os.stat_result]]:
        """Note the files of a folder, and return its folders, last name first."""
        with os.scandir(os.path.join(self.root, at)) as entries:
            found = sorted(entries, key=lambda entry: entry.name, reverse=True)
        folders = [self._visit(entry, os.path.join(at, entry.name)) for entry in found]
        return [folder for folder in folders if folder]

    def _visit(self, entry: os.DirEntry[bytes], at: bytes) -> tuple[bytes, os.stat_result] | None:
        """Note a file, or return a folder."""
        if entry.name.startswith(b"."):
            self.passed_over["hidden files and folders"] += 1
            return None
        name = name_of(at)
        try:
            status = entry.stat()
        except OSError as error:
            why = "a link that leads nowhere" if entry.is_symlink() else str(error.strerror)
            self.note_problem(at, why)
            return None
        if entry.is_symlink() and not self._leads_out(at):
            return None
        if stat.S_ISDIR(status.st_mode):
            return at, status
        if not self.is_wanted(name):
            self.unwanted[ending_of(name)] += 1
        elif not stat.S_ISREG(status.st_mode):
            self.note_problem(at, "neither a file nor a folder")
        else:
            self.listing.files[name] = status
        return None

    def _leads_out(self, at: bytes) -> bool:
        """Whether the link `at` leads to something that the walk would not come to anyway, nor to the walk itself."""
        target = os.path.realpath(os.path.join(self.root, at))
        if target == self.real_root or target.startswith(os.path.join(self.real_root, b"")):
            self.passed_over["links to what is inside the folder anyway"] += 1
            return False
        if self.real_root.startswith(os.path.join(target, b"")):
            self.note_problem(at, "a link to a folder that holds this one")
            return False
        return True

    def note_problem(self, at: bytes, why: str) -> None:
        """Note something that cannot be read."""
        self.listing.problems.append(Problem("unreadable", name_of(at), why))

    def sum_up(self, where: str) -> None:
        """Name what was passed over, in one line for each reason."""
        for reason, count in self.passed_over.items():
            self.listing.problems.append(Problem("skipped", where, f"{count} {reason}"))
        if self.unwanted:
            ordered = sorted(self.unwanted.items(), key=lambda one: (-one[1], one[0]))
            kinds = [f"{ending} ({count})" for ending, count in ordered[:_MAX_KINDS]]
            more = ["..."] if len(self.unwanted) > _MAX_KINDS else []
            why = f"files of kinds that are not read: {self.unwanted.total()}, {', '.join(kinds + more)}"
            self.listing.problems.append(Problem("ignored", where, why))


def marks_of(status: os.stat_result) -> list[int]:
    """What changes whenever a file does, or is replaced by another one."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def ending_of(name: str) -> str:
    """What the name of a file ends in, its compression included, for people."""
    endings = PurePosixPath(name.lower()).suffixes
    return "".join(endings[-2:] if endings and endings[-1] in COMPRESSIONS else endings[-1:]) or "no ending"
