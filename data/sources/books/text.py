"""What Project Gutenberg puts around a book, of every age: the header with its fields, the small print, the licence.

`parse` tells a book from what surrounds it. Markers differ: `*** START OF THE PROJECT GUTENBERG EBOOK ... ***` in a
dozen spellings, over two lines, indented; before 2003 only `*END*THE SMALL PRINT! ... *END*`; an end marker may be
missing. Knows nothing of files and of how lines are wrapped.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

_HEAD_LINES = 800  # within which a header ends; the longest small print has about 250
_OWNER = r"(?:the|this)?\s*(?:copyrighted\s+)?projec?t\s+gutenberg"
_START = re.compile(rf"\s*\*{{2,}}\s*start\s+of\s+{_OWNER}", re.IGNORECASE)
_SMALL_PRINT_ENDS = re.compile(r"\s*\*\s?END\s?\*?\s?THE SMALL PRINT", re.IGNORECASE)
_END = re.compile(
    rf"""\s*(?:\*{{2,}}\s*(?:end\s+of\s+{_OWNER}|ende\s+dieses\s+proje[ck]t|fin\s+(?:de|du)\s+(?:ce\s+)?projec?t\s+gutenberg)
    |(?:this\s+is\s+the\s+)?end\s+of\s+{_OWNER}
    |ende\s+dieses\s+proje[ck]t\s+gutenberg
    |fin\s+de\s+(?:ce\s+)?project\s+gutenberg
    |\*{{2,}}\s*START:\s+FULL\s+LICENSE
    |\*{{2}}\s*This\s+is\s+a\s+COPYRIGHTED\s+Project\s+Gutenberg\s+Etext,\s+Details\s+Above)""",
    re.IGNORECASE | re.VERBOSE,
)
_ANY_MARK = re.compile(r"project\s+gutenberg", re.IGNORECASE)
_COPYRIGHTED = re.compile(
    r"this\s+is\s+a\s+\**copyrighted\**\s+project\s+gutenberg|start\s+of\s+the\s+copyrighted\s+project", re.IGNORECASE
)
_CREDITS = re.compile(
    r"""[\[(*]*\s*(?:(?:this\s+)?(?:e-?text|e-?book|file|text|html|electronic\s+text)\s+(?:was\s+)?
    (?:prepared|produced|created|scanned|typed|transcribed|proofed|converted|entered)\b
    |(?:produced|prepared|transcribed|scanned|typed|proofed|digitized)\s+(?:by|from)\b
    |transcriber'?s?\s+notes?\s*:
    |note:\s+project\s+gutenberg\s+also\s+has
    |an?\s+(?:anonymous\s+)?volunteers?\b
    |the\s+project\s+gutenberg\s+e-?(?:text|book)\b
    |project\s+gutenberg'?s\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_CREDIT_PLACES = re.compile(r"pgdp\.net|proofreading\s+team|ebooksgratuits|gutenberg\.org/files/", re.IGNORECASE)
_CREDIT_PARAGRAPHS = 6  # after the start marker that may be about making the file
_FIELD = re.compile(r"([A-Z][A-Za-z]+(?: [A-Za-z]+){0,3})\s*:\s*(\S.*)?$")
_NUMBER = re.compile(r"\[\s*e-?(?:book|text)\s*#\s*(\d+)\s*\]", re.IGNORECASE)
_FIRST_LINE = re.compile(
    r"(?:the\s+)?project\s+gutenberg(?:'s|\s+e-?(?:book|text))?(?:,?\s+of)?\s+(.+?)(?:,\s+by\s+(.+?))?[\s*]*$",
    re.IGNORECASE,
)
_BY_LINE = re.compile(r"\s*(\S.*?),?\s+by\s+(\S.*?)\s*$")
_LANGUAGES = {
    "english": "en", "french": "fr", "german": "de", "spanish": "es", "italian": "it", "portuguese": "pt",
    "dutch": "nl", "finnish": "fi", "swedish": "sv", "danish": "da", "norwegian": "no", "latin": "la",
    "greek": "el", "polish": "pl", "czech": "cs", "hungarian": "hu", "russian": "ru", "chinese": "zh",
    "japanese": "ja", "esperanto": "eo", "catalan": "ca", "welsh": "cy", "hebrew": "he",
}  # fmt: skip


@dataclass(frozen=True)
class Book:
    """A file of Project Gutenberg, taken apart.

    text         between header and footer, without notes on who made the file; no blank lines at its ends
    number       the book's, if the file tells
    language     ISO 639-1 where known, else as the file has it
    has_header, has_end  whether a marker was found there
    """

    text: str
    number: int | None = None
    title: str | None = None
    authors: tuple[str, ...] = ()
    language: str | None = None
    copyrighted: bool = False
    has_header: bool = False
    has_end: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Book:
    r"""Take a file apart; lines end in `\n`. A file with no marker at all is the book as a whole."""
    lines = text.removeprefix("\ufeff").split("\n")
    start = _start_of(lines)
    end = next((at for at in range(start, len(lines)) if _is_end(lines, at)), None)
    head = lines[:start]
    fields = _fields(head)
    number = _NUMBER.search("\n".join(head))
    title, author = _titled(head)
    authors = fields.get("author") or fields.get("authors") or author
    language = fields.get("language", "").strip().lower()
    body = _without_credits(lines[start:end]) if start else lines[start:end]
    return Book(
        text="\n".join(_trimmed(body)),
        number=int(number[1]) if number else None,
        title=" ".join((fields.get("title") or title or "").split()) or None,
        authors=_names(authors or ""),
        language=_LANGUAGES.get(language, language) or None,
        copyrighted=_COPYRIGHTED.search("\n".join(head)) is not None,
        has_header=start > 0,
        has_end=end is not None,
        fields=fields,
    )


def _start_of(lines: Sequence[str]) -> int:
    """The line after the header; 0 when there is none."""
    start = 0
    for at, line in enumerate(lines[:_HEAD_LINES]):
        if start and _END.match(line):
            break
        if _START.match(line):
            start = at + 1
            if not line.rstrip().endswith("*"):  # the title goes on in the next line
                start += next((n for n, more in enumerate(lines[at + 1 : at + 4], 1) if more.rstrip().endswith("*")), 0)
        elif _SMALL_PRINT_ENDS.match(line):
            start = at + 1
    return start


def _is_end(lines: Sequence[str], at: int) -> bool:
    if _END.match(lines[at]) is None:
        return False
    return _ANY_MARK.search(" ".join(lines[at : at + 2])) is not None or "LICENSE" in lines[at]


def _fields(head: Sequence[str]) -> dict[str, str]:
    """`Title: ...` and its like, by name in lower case; a field goes on over indented lines, joined by line ends."""
    fields: dict[str, str] = {}
    name = ""
    for line in head:
        if found := _FIELD.match(line):
            name = found[1].lower()
            if name in fields:
                fields[name] += f"\n{found[2] or ''}"
            else:
                fields[name] = found[2] or ""
        elif name and line[:1].isspace() and line.strip():
            fields[name] += f"\n{line.strip()}"
        else:
            name = ""
    return fields


def _titled(head: Sequence[str]) -> tuple[str | None, str | None]:
    """Title and author by the first line, for files that have no fields; a later "TITLE, by AUTHOR" tells more."""
    for line in head[:30]:
        found = _FIRST_LINE.match(line.strip().strip("*").strip())
        if not found:
            continue
        title, author = found[1], found[2]
        for other in head:
            by = _BY_LINE.match(other)
            if by and author and by[1].lower() == title.lower() and by[2].endswith(author):
                author = by[2]
        return title, author
    return None, None


def _names(authors: str) -> tuple[str, ...]:
    names = re.split(r"\n|;| and (?=[A-Z])", authors)
    return tuple(dict.fromkeys(" ".join(name.split()) for name in names if name.strip()))


def _without_credits(body: Sequence[str]) -> Sequence[str]:
    """The body without the paragraphs at its beginning that tell who made the file."""
    at = 0
    for _ in range(_CREDIT_PARAGRAPHS):
        begins = at + len(list(takewhile(lambda line: not line.strip(), body[at:])))
        paragraph = list(takewhile(lambda line: line.strip(), body[begins:]))
        text = " ".join(line.strip() for line in paragraph)
        if len(paragraph) > 12 or not (_CREDITS.match(text) or _CREDIT_PLACES.search(text)):
            break
        at = begins + len(paragraph)
    return body[at:]


def _trimmed(lines: Sequence[str]) -> Iterator[str]:
    """Without blank lines at both ends."""
    held = 0
    begun = False
    for line in lines:
        if not line.strip():
            held += 1
            continue
        if begun:
            yield from [""] * held
        begun, held = True, 0
        yield line.rstrip()
