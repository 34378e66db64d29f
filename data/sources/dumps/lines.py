"""The lines of a Reddit dump as posts: decompressed as a stream, judged line by line, what is wrong counted and named.

The monthly .zst dumps ask for a window of 2 GiB, which the decompressor takes from memory as far as a file fills it. A
stream that grows over `decompression.BOMB_BYTES` and over `BOMB_RATIO` times what has been read of it is given up. Of a
line of some fifty keys only those of `Line` are parsed. Memory: three times what 4 KiB grow to, and at least 1 MB.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import zstandard

from data.facts import counted
from data.formats import decompression
from data.formats.decompression import COMPRESSIONS, CannotDecompressError, decompress
from data.sources.base import Problem

WINDOW_BYTES = 1 << 31
LINE_BYTES = 1 << 24  # a longer line is given up
_PIECE = 4096  # compressed bytes taken at a time, so that what they grow to stays small in memory
_BATCH = 1 << 20  # decompressed bytes handed out at a time, at least
_NAMED = 5  # lines named in one problem
_GIVEN_UP = b"{"  # stands for a line that is too long
FORGOTTEN = "[forgotten]"  # id of a line that stands for one that had to be forgotten
_OPENING, _CLOSING = b"{}"


class Line(msgspec.Struct, gc=False):
    """A comment or a submission as a dump has it, as far as it is used."""

    id: str
    author: str | None = None
    body: str | None = None
    title: str | None = None
    selftext: str | None = None
    subreddit: str | None = None
    link_id: str | None = None
    parent_id: str | None = None
    created_utc: int | float | str | None = None
    score: int | float | None = None  # a fraction is taken for unknown


_decode = msgspec.json.Decoder(Line).decode
_decode_lines = msgspec.json.Decoder(Line).decode_lines


@dataclass
class Places:
    """How many lines, and the numbers of the first few, from 1."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(number)

    def __str__(self) -> str:
        more = "..." if self.count > len(self.first) else ""
        return f"{counted(self.count, 'line')} ({', '.join(map(str, self.first))}{more})"


@dataclass
class Wrong:
    """What was wrong with the lines of one file."""

    blank: Places = field(default_factory=Places)
    broken: Places = field(default_factory=Places)
    foreign: Places = field(default_factory=Places)
    stopped: CannotDecompressError | None = None

    def problems(self, name: str) -> Iterator[Problem]:
        """The problems of the file called `name`; the rest of it was read."""
        if self.blank.count:
            yield Problem("blank", name, f"{self.blank} without text", self.blank.count)
        if self.broken.count:
            yield Problem("broken", name, f"{self.broken} cut or damaged", self.broken.count)
        if self.foreign.count:
            yield Problem("foreign", name, f"{self.foreign} neither comment nor submission", self.foreign.count)
        if self.stopped:
            yield Problem(self.stopped.what, name, f"{self.stopped.why}; what comes before is used")


def lines_of(
    chunks: Iterable[bytes],
    compression: str | None,
    subreddits: Sequence[str],
    wrong: Wrong,
    seen: Callable[[bytes], None] | None = None,
) -> Iterator[list[Line]]:
    """The posts of one file, in order, many at a time.

    compression  one of `decompression.COMPRESSIONS`, or None
    subreddits   names, in lower case, of those that are wanted; none: all
    wrong        gets what cannot be used
    seen         gets the lines as they stand in the file, unwanted ones too, many at a time
    """
    spelt = b"|".join(re.escape(name).encode() for name in subreddits)
    is_wanted = re.compile(rb'"subreddit"\s*:\s*"(?i:' + spelt + rb')"').search if subreddits else None
    names = frozenset(subreddits)
    number = 0
    for text in whole_lines(chunks, compression, wrong):
        if seen:
            seen(text)
        lines: Sequence[Line | None] | None = None if is_wanted else all_lines(text)
        if lines is None:
            lines = list(_one_by_one(text, is_wanted, wrong, number))
        found = []
        for place, line in enumerate(lines, number + 1):
            if line is None or (names and (line.subreddit or "").lower() not in names):
                continue
            if (line.body is None or line.link_id is None) and line.title is None:
                if line.id != FORGOTTEN:
                    wrong.foreign.add(place)
                continue
            found.append(line)
        number += len(lines)
        yield found


def all_lines(text: bytes) -> list[Line] | None:
    """The lines of `text` at once, if each is an object and nothing else; None if one is not.

    No object goes on behind a } and the beginning of a line with {, so there are as many as lines only if each line is
    one.
    """
    begin = count = 0
    while begin < len(text):
        end = text.index(b"\n", begin)
        if text[begin] != _OPENING or text[end - 1] != _CLOSING:
            return None
        begin = end + 1
        count += 1
    try:
        lines = _decode_lines(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    return lines if len(lines) == count else None


def _one_by_one(
    text: bytes, is_wanted: Callable[[bytes, int], re.Match[bytes] | None] | None, wrong: Wrong, number: int
) -> Iterator[Line | None]:
    """The lines of `text`, which come after so many; None for one that is not wanted or is none."""
    view = memoryview(text)
    end = named = -1  # where the last line ended, and where the next wanted name stands
    while (begin := end + 1) < len(text):
        end = text.index(b"\n", begin)
        number += 1
        if is_wanted:
            if named < begin:
                found = is_wanted(text, begin)
                named = found.start() if found else len(text)
            if named > end and text[end - 1] == _CLOSING:
                yield None
                continue
        try:
            yield _decode(view[begin:end])
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            data = text[begin:end]
            is_blank = not data.strip(b" \t\r\0")
            mended = None if is_blank else mended_line(data)
            if mended is None:
                (wrong.blank if is_blank else wrong.broken).add(number)
            yield mended


def mended_line(data: bytes) -> Line | None:
    """A line that holds half characters (lone surrogates), with question marks instead; None if it is no post."""
    try:
        return _decode(json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None


def whole_lines(chunks: Iterable[bytes], compression: str | None, wrong: Wrong) -> Iterator[bytes]:
    """Lines with their ends, many at a time; one that is too long comes as one that cannot be parsed."""
    held: list[bytes] = []
    size = 0
    try:
        for chunk in _plain(chunks, compression):
            end = chunk.rfind(b"\n") + 1
            if end:
                lines = chunk[:end]
                if size > LINE_BYTES:
                    lines = _GIVEN_UP + lines[lines.index(b"\n") :]
                elif held:
                    lines = b"".join([*held, lines])
                yield lines
                held, size = [], 0
            size += len(chunk) - end
            held = [] if size > LINE_BYTES else [*held, chunk[end:]]
    except CannotDecompressError as error:
        wrong.stopped = CannotDecompressError(error.what, error.why)  # whose traceback does not hold the window
    if size:
        yield (_GIVEN_UP if size > LINE_BYTES else b"".join(held)) + b"\n"


def _plain(chunks: Iterable[bytes], compression: str | None) -> Iterable[bytes]:
    if compression is None:
        return chunks
    return _zstandard(chunks) if compression == ".zst" else decompress(chunks, compression)


def _zstandard(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The decompressed bytes of frames one after the other. Raises CannotDecompressError after what could be read."""
    frame = None
    seen = grown = waiting = 0
    batch: list[bytes] = []
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), _PIECE):
                rest = chunk[start : start + _PIECE]
                seen += len(rest)
                while rest:
                    frame = frame or zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj()
                    text = frame.decompress(rest)
                    grown += len(text)
                    waiting += len(text)
                    batch.append(text)
                    rest = frame.unused_data if frame.eof else b""
                    if frame.eof:
                        frame = None
                if grown > max(decompression.BOMB_BYTES, decompression.BOMB_RATIO * seen):
                    raise CannotDecompressError(
                        "decompression_bomb",
                        f"{seen} bytes have grown to {grown}; {decompression.BOMB_BYTES} bytes or "
                        f"{decompression.BOMB_RATIO} times are allowed",
                    )
                if waiting >= _BATCH:
                    yield b"".join(batch)
                    batch, waiting = [], 0
    except (zstandard.ZstdError, MemoryError) as error:
        yield b"".join(batch)
        raise CannotDecompressError("damaged", f"the .zst data are damaged after {seen} bytes: {error}") from error
    yield b"".join(batch)
    if frame is not None or not seen:
        raise CannotDecompressError("cut", f"the .zst data end early, after {seen} bytes")


def compression_of(name: str) -> str | None:
    """The compression that a file's name tells."""
    return next((ending for ending in COMPRESSIONS if name.lower().endswith(ending)), None)
