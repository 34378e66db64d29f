"""From the bytes of a text file to its documents: find the encoding, decode, cut at delimiter lines.

The encoding is that of the byte order mark if there is one; else UTF-8 if every byte agrees; else the declared one,
if there is one and every byte agrees with that; else a stated fallback or, without one, the likeliest that
data/formats/charsets.py knows, if every byte agrees. A file with NUL characters is binary. All this is known only at a
file's end, so a large file is read twice, and no more than one document of it is held. Knows nothing of folders.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter

from data.formats.charsets import declared_encodings, detect, is_binary, is_seven_bit

WHOLE_BYTES = 16_000_000  # a file up to this size is held as a whole instead of being read twice
DOCUMENT_CHARACTERS = 8_000_000  # a longer document is cut into several
_LINE_CHARACTERS = 1 << 16  # what is held of a line while it may still turn out to be a delimiter

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class CannotDecodeError(Exception):
    """Bytes that are no text: `what` in one word, `why` in a sentence."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what
        self.why = why


@dataclass(frozen=True)
class Encoding:
    """How a file is decoded. `skip` is the length of its byte order mark; `guessed` says that nothing told it."""

    name: str
    skip: int = 0
    guessed: bool = False


def decode(
    open_file: Callable[[], Iterable[bytes]], fallback: str | None, declared: str | None = None
) -> tuple[Encoding, Iterator[str]]:
    r"""The text of a file in chunks, with every line end as `\n`.

    open_file  starts reading the file from its beginning
    fallback   name of the encoding of files that are no UTF-8 and have no byte order mark; None: find out
    declared   the charset that the file, or whoever sent it, declares; need not be true, nor known
    Raises CannotDecodeError, before any text is handed out.
    """
    whole, is_all = _beginning(open_file(), WHOLE_BYTES)
    failures = []
    for encoding in _candidates(whole, fallback, declared):
        try:
            if is_all:
                return encoding, iter([_decode_whole(whole, encoding)])
            for _ in _decode(open_file(), encoding):
                pass
            return encoding, _decode(open_file(), encoding)
        except CannotDecodeError as error:
            failures.append(error)
    binary = [failure for failure in failures if failure.what == "binary"]
    raise binary[0] if binary else CannotDecodeError("undecodable", "; ".join(failure.why for failure in failures))


def _beginning(chunks: Iterable[bytes], size: int) -> tuple[bytes, bool]:
    """The first chunks, a little over `size` bytes at most, and whether that is all."""
    held: list[bytes] = []
    length = 0
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length > size:
            return b"".join(held), False
    return b"".join(held), True


def _candidates(head: bytes, fallback: str | None, declared: str | None) -> Iterator[Encoding]:
    for mark, name in _MARKS:
        if head.startswith(mark):
            yield Encoding(name, len(mark))
            return
    told = [Encoding(name) for name in declared_encodings(declared)] if declared else []
    if told and is_seven_bit(told[0].name):
        yield from told  # before UTF-8, with which all of their bytes agree
    yield Encoding("utf-8")
    yield from told
    if not fallback and is_binary(head):
        raise CannotDecodeError("binary", "not utf-8, and too many control characters for anything else")
    for name in [fallback] if fallback else detect(head):
        yield Encoding(name, guessed=True)


def _decode_whole(data: bytes, encoding: Encoding) -> str:
    """As `_decode`, of all bytes at once."""
    is_wide = encoding.name.startswith(("utf-16", "utf-32"))
    if not is_wide and b"\0" in data:
        raise CannotDecodeError("binary", f"a NUL at byte {data.index(0)}")
    try:
        decoder = codecs.getincrementaldecoder(encoding.name)()  # UTF-16 without a mark is none to it, as to `_decode`
        text = decoder.decode(data[encoding.skip :] if encoding.skip else data, True)
    except UnicodeError as error:
        place = encoding.skip + error.start if isinstance(error, UnicodeDecodeError) else 0
        raise CannotDecodeError("undecodable", f"not {encoding.name} at byte {place}") from error
    if is_wide and "\0" in text:
        raise CannotDecodeError("binary", "a NUL character")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _decode(chunks: Iterable[bytes], encoding: Encoding) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding.name)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    at = skip = encoding.skip
    is_wide = encoding.name.startswith(("utf-16", "utf-32"))  # where NUL bytes are no NUL characters
    for chunk, is_last in chain(((chunk, False) for chunk in chunks), [(b"", True)]):
        data = chunk[skip:]
        skip -= len(chunk) - len(data)
        pending = decoder.getstate()[0]
        if not is_wide and b"\0" in data:
            raise CannotDecodeError("binary", f"a NUL at byte {at + data.index(0)}")
        try:
            text = decoder.decode(data, is_last)
        except UnicodeError as error:
            place = at - len(pending) + error.start if isinstance(error, UnicodeDecodeError) else at
            raise CannotDecodeError("undecodable", f"not {encoding.name} at byte {place}") from error
        if is_wide and "\0" in text:
            raise CannotDecodeError("binary", f"a NUL character after byte {at}")
        at += len(data)
        yield newlines.decode(text, is_last)


def split(texts: Iterable[str], delimiter: str | None) -> Iterator[tuple[int, int, str]]:
    """Cut a file's text into documents.

    delimiter  a line that equals it, white space at its end aside, ends a document and belongs to none

    Yields (piece, part, text). A piece's number is one more than the delimiter lines before it, so that it stays
    when text is appended; pieces of white space are passed over, unless there is nothing else. A piece over
    `DOCUMENT_CHARACTERS` comes in parts, numbered from 1 and cut at the end of a paragraph, or else a line, in the
    second half of that length if there is any. Together the parts are the piece.
    """
    found = False
    for piece, fragments in _pieces(texts, delimiter):
        part = 1
        held: list[str] = []
        size = 0
        for fragment in fragments:
            held.append(fragment)
            size += len(fragment)
            while size > DOCUMENT_CHARACTERS:
                text = "".join(held)
                end = _end_of_part(text)
                found = True
                yield piece, part, text[:end]
                part += 1
                held, size = [text[end:]], len(text) - end
        text = "".join(held)
        if part > 1 or text.strip() or delimiter is None:
            found = True
            yield piece, part, text
    if not found:
        yield 1, 1, ""


def _end_of_part(text: str) -> int:
    half = DOCUMENT_CHARACTERS // 2
    for end in ("\n\n", "\n"):
        at = text.rfind(end, half, DOCUMENT_CHARACTERS)
        if at >= 0:
            return at + len(end)
    return DOCUMENT_CHARACTERS


def _pieces(texts: Iterable[str], delimiter: str | None) -> Iterator[tuple[int, Iterable[str]]]:
    """Each piece with its fragments, in order; its fragments must be taken before the next piece."""
    if delimiter is None:
        yield 1, texts
        return
    for piece, fragments in groupby(_fragments(texts, delimiter), key=itemgetter(0)):
        yield piece, map(itemgetter(1), fragments)


def _fragments(texts: Iterable[str], delimiter: str) -> Iterator[tuple[int, str]]:
    """The text in order, as (piece, fragment), without the delimiter lines; a piece may have many fragments or none."""
    line = re.compile(rf"^{re.escape(delimiter)}[^\S\n]*\n", re.MULTILINE)
    piece = 1
    held = ""  # the beginning of a line that may become a delimiter
    in_long_line = False
    for text in chain(texts, ["\n"]):  # the last line ends, too
        rest = held + text
        if in_long_line:
            end = rest.find("\n") + 1 or len(rest)
            yield piece, rest[:end]
            in_long_line = not rest[:end].endswith("\n")
            rest = rest[end:]
        end = rest.rfind("\n") + 1
        first, *others = line.split(rest[:end])
        yield piece, first
        for other in others:
            piece += 1
            yield piece, other
        held = rest[end:]
        if len(held) > _LINE_CHARACTERS + len(delimiter):
            yield piece, held
            held, in_long_line = "", True
