"""Plain text of an article: what of an extract, as MediaWiki's TextExtracts gives it, is worth reading.

An extract has its headings as lines `== History ==`. Here they become bare lines, sections that hold references and
links go, and so do parentheses that lost all of their content together with their markup. Pages and requests are not
known here.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_SEPARATORS = r"[ \t\u00a0;,:،؛、，；]"
_HOLLOW = re.compile(rf"(?:^|[ \t\u00a0])[(（]{_SEPARATORS}+[)）]", re.MULTILINE)
_EMPTY = re.compile(r"(?:^|[ \t\u00a0])(?:\(\)|（）)", re.MULTILINE)
_BEGINS_HOLLOW = re.compile(r"(?<=[(（])(?:[ \t\u00a0]*[;,،؛、，；])+[ \t\u00a0]*(?=[^\s)）])")
_BLANK_LINES = re.compile(r"\n(?:[ \t\u00a0]*\n){2,}")


@dataclass(frozen=True)
class _Section:
    """A heading with the text up to the next one; level 1 and no title at the beginning of a page."""

    level: int
    title: str
    text: str


def article_text(extract: str, dropped: Collection[str]) -> str:
    """The text of an article without the sections whose titles are in `dropped`, given as `section_key` has them.

    A dropped section takes its subsections with it. A heading with nothing below it, as tables and galleries leave it
    behind, goes too. `( ; )` goes everywhere, `()` only before the first heading: further down it is often meant, as
    in an article on a programming language.
    """
    kept = []
    below = 0  # level of the dropped section that we are in
    for section in _sections(extract):
        if below and section.level > below:
            continue
        below = section.level if section_key(section.title) in dropped else 0
        if not below:
            kept.append(section)
    blocks: list[str] = []
    deepest = 0  # level of the heading after; a heading without text stays where that is a subsection's
    for section in reversed(kept):
        text = _without_hollow_parentheses(section.text, is_lead=section.level == 1).strip("\n")
        text = text if text.strip() else ""
        if text or section.level < deepest:
            blocks.append("\n".join(part for part in (section.title, text) if part))
            deepest = section.level
    return "\n\n".join(block for block in reversed(blocks) if block)


def section_key(title: str) -> str:
    """A section's title as it is compared: without case, typographic apostrophes and double spaces."""
    return " ".join(unicodedata.normalize("NFKC", title).replace("\u2019", "'").casefold().split())


def _sections(extract: str) -> Iterator[_Section]:
    level, title, lines = 1, "", list[str]()
    for line in extract.replace("\r\n", "\n").split("\n"):
        heading = _heading(line) if line.startswith("==") else None
        if heading is None:
            lines.append(line)
            continue
        yield _Section(level, title, "\n".join(lines))
        level, title, lines = *heading, []
    yield _Section(level, title, "\n".join(lines))


def _heading(line: str) -> tuple[int, str] | None:
    """Level and title of a line `== Title ==`."""
    line = line.rstrip()
    signs = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
    title = line[signs:-signs].strip() if signs >= 2 and 2 * signs < len(line) else ""
    return (signs, title) if title else None


def _without_hollow_parentheses(text: str, is_lead: bool) -> str:
    text = _HOLLOW.sub("", text)
    if is_lead:
        text = _EMPTY.sub("", text)
    text = _BEGINS_HOLLOW.sub("", text)
    return _BLANK_LINES.sub("\n\n", text)
