"""Posts brought together by thread, in bounded memory, and threads as text.

Posts of one thread lie anywhere in a dump's two files. As long as they are few they are held; beyond `HELD_BYTES` what
has been brought together so far goes into files by a hash of the thread's id, which are then taken one by one, and
divided again if they are too large. A single thread is always held as a whole. Knows nothing of dumps.
"""

import struct
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from operator import lt
from pathlib import Path
from typing import BinaryIO

import msgspec
import xxhash

from data.facts import counted
from data.sources.base import SourceError
from data.sources.chats.pseudonyms import Names
from data.sources.dumps.posts import Post, without_users

HELD_BYTES = 100_000_000  # of posts in memory
DOCUMENT_CHARACTERS = 1_000_000  # a longer thread is cut between comments
_FILES = 64
_DEEPEST = 4  # times that files are divided again; what is still too large then is one thread
_POST_BYTES = 500  # a post without its text
_TOGETHER = 20  # groups written and read at a time
_BUFFER = 1 << 17
_NAMED = 5  # repeated posts named in one problem
_NAMES_HELD = 1_000
_SIZE = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[Post]]).decode


def grouped(batches: Iterable[Sequence[Post]], by_thread: bool = True) -> Iterator[list[Post]]:
    """Posts with the same thread, or else the same post again, together; each group in the order of the posts.

    Raises SourceError when there is no room for the files.
    """
    return _grouped(batches, by_thread, 0)


def _grouped(batches: Iterable[Sequence[Post]], by_thread: bool, level: int) -> Iterator[list[Post]]:
    """Posts put together; those that do not fit into memory meet in files, and groups of them are batches again."""
    held: dict[str, list[Post]] = defaultdict(list)
    size = 0
    with ExitStack() as stack:
        files: _Files | None = None
        for batch in batches:
            if by_thread:
                for post in batch:
                    held[post.link].append(post)
            else:
                for post in batch:
                    held[f"s{post.id}" if post.is_submission else post.id].append(post)
            size += sum(map(sys.getsizeof, [post.text for post in batch])) + _POST_BYTES * len(batch)
            if size > HELD_BYTES and level < _DEEPEST:
                if files is None:
                    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="textmill-"))
                    files = _Files(Path(folder), by_thread, level)
                files.add(held.values())
                held.clear()
                size = 0
        if files is None:
            for key in list(held):
                yield held.pop(key)
            return
        files.add(held.values())
        held.clear()
        for path in files.close():
            yield from _grouped(_read(path), by_thread, level + 1)
            path.unlink()


class _Files:
    """Groups of posts in files by a hash of their thread."""

    def __init__(self, folder: Path, by_thread: bool, level: int) -> None:
        self._paths = [folder / f"{number:02d}" for number in range(_FILES)]
        self._files: list[BinaryIO] = [path.open("wb", buffering=_BUFFER) for path in self._paths]
        self._by_thread = by_thread
        self._level = level

    def add(self, groups: Iterable[list[Post]]) -> None:
        waiting: list[list[list[Post]]] = [[] for _ in self._paths]
        for group in groups:
            key = group[0].link if self._by_thread else group[0].id
            place = xxhash.xxh32_intdigest(key.encode(), self._level) % _FILES
            waiting[place].append(group)
            if len(waiting[place]) >= _TOGETHER:
                self._write(place, waiting[place])
                waiting[place] = []
        for place, rest in enumerate(waiting):
            self._write(place, rest)

    def _write(self, place: int, groups: list[list[Post]]) -> None:
        try:
            posts = _encode(groups)
            self._files[place].write(_SIZE.pack(len(posts)) + posts)
        except OSError as error:
            raise _no_room(self._paths[place], error) from error

    def close(self) -> list[Path]:
        """The files, to be read."""
        for path, file in zip(self._paths, self._files, strict=True):
            try:
                file.close()
            except OSError as error:
                raise _no_room(path, error) from error
        return self._paths


def _no_room(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"Threads are put together in {path.parent}, which cannot be written ({error.strerror}). A month needs about a "
        "fifth of its decompressed size there; name a roomier folder in the environment variable TMPDIR."
    )


def _read(path: Path) -> Iterator[list[Post]]:
    with path.open("rb", buffering=_BUFFER) as file:
        while size := file.read(_SIZE.size):
            yield from _decode(file.read(_SIZE.unpack(size)[0]))


class Repeats:
    """Posts that come again: how many, and the first few by name."""

    def __init__(self) -> None:
        self.count = 0
        self._names: list[str] = []

    def add(self, post: Post) -> None:
        self.count += 1
        self._names.append(f"{'t3' if post.is_submission else 't1'}_{post.id}")
        if len(self._names) > _NAMES_HELD:
            self._names = sorted(self._names)[:_NAMED]

    def __str__(self) -> str:
        more = "..." if self.count > _NAMED else ""
        return (
            f"{counted(self.count, 'post')} appearing more than once: {', '.join(sorted(self._names)[:_NAMED])}{more}"
        )


def without_repeats(group: list[Post], repeats: Repeats) -> list[Post]:
    """A group with each post once, the first one; the others go to `repeats`."""
    if len({post.id for post in group}) == len(group):
        return group
    kept: dict[tuple[bool, str], Post] = {}
    for post in group:
        if kept.setdefault((post.is_submission, post.id), post) is not post:
            repeats.add(post)
    return list(kept.values())


def _by_time(posts: list[Post]) -> list[Post]:
    times = [post.created for post in posts]
    if all(map(lt, times, times[1:])):  # as nearly always
        return posts
    return sorted(posts, key=lambda post: (post.created, len(post.id), post.id))


def ordered(posts: list[Post], maximum_depth: int, dropped: Counter[str]) -> list[tuple[Post, Post | None]]:
    """The comments of a thread as they are read: each after the one that it answers, answers by time.

    A comment that answers one that is dropped stands where that would have stood; one whose parent is not there, or
    answers itself in a circle, stands at the top. Returns (comment, the comment that it answers, if that is there).
    Comments more than `maximum_depth` answers deep go to `dropped` as too_deep.
    """
    comments = {post.id: post for post in _by_time(posts)}
    answers: dict[str, list[Post]] = {}
    tops: list[Post] = []
    for post in comments.values():
        if post.parent in comments and post.parent != post.id:
            answers.setdefault(post.parent, []).append(post)
        else:
            tops.append(post)
    found: list[tuple[Post, Post | None]] = []
    seen: set[str] = set()

    def tell(tops: list[Post]) -> None:
        waiting: list[tuple[Post, Post | None, int]] = [(top, None, 1) for top in reversed(tops)]
        while waiting:
            post, parent, depth = waiting.pop()
            if post.id in seen:
                continue
            seen.add(post.id)
            if not post.dropped:
                if depth <= maximum_depth:
                    found.append((post, parent))
                else:
                    dropped["too_deep"] += 1
                parent, depth = post, depth + 1
            if post.id in answers:
                waiting += [(answer, parent, depth) for answer in reversed(answers[post.id])]

    tell(tops)
    if len(seen) < len(comments):  # answers in a circle
        tell(list(comments.values()))
    return found


def thread_texts(
    submission: Post | None, comments: list[tuple[Post, Post | None]], called: Mapping[str, str], names: Names
) -> Iterator[str]:
    """A thread as text, in parts of at most `DOCUMENT_CHARACTERS` or one post: title, submission, comments.

    called  the names of those who wrote them, by author
    names   for the people whom they mention
    """
    part: list[str] = []
    size = 0
    for paragraph in _paragraphs(submission, comments, called, names):
        if part and size + len(paragraph) > DOCUMENT_CHARACTERS:
            yield "\n\n".join(part)
            part, size = [], 0
        part.append(paragraph)
        size += len(paragraph) + 2
    if part:
        yield "\n\n".join(part)


def _paragraphs(
    submission: Post | None, comments: list[tuple[Post, Post | None]], called: Mapping[str, str], names: Names
) -> Iterator[str]:
    if submission is not None:
        title, _, text = without_users(submission.text, names).partition("\n\n")
        yield title.strip()
        if text.strip():
            yield _said(called[submission.author], text.strip("\r\n").rstrip())
    for post, parent in comments:
        who = called[post.author] if parent is None else f"{called[post.author]} (to {called[parent.author]})"
        yield _said(who, without_users(post.text, names) if "u/" in post.text else post.text)


def _said(who: str, text: str) -> str:
    """Indented text, which is code, keeps its lines."""
    return f"{who}:\n{text}" if text[:1].isspace() else f"{who}: {text}"
