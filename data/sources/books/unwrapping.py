"""Prose that was broken into short lines becomes one line a paragraph again; verse, tables and headings stay.

Prose is recognised by how it was broken: a line ends where the next word would not have fitted. In verse, lists and
addresses most lines end long before. Paragraphs are set apart by blank lines, and within one the indented lines are
judged by themselves, so that a poem quoted in the middle of prose keeps its lines. Knows nothing of books.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

NARROWEST = 45  # characters; nobody breaks prose into shorter lines than that, and verse often is
USUAL_WIDTH = 60  # assumed where a text has no paragraph long enough to tell
EARLY_SHARE = 0.2  # of a paragraph's line breaks: more that came too early, and it is not prose
SLACK = 6  # characters that an editor's line may be shorter than the width of the book
LONG_LINE = 0.75  # of the width: verse without indentation is not as long as that
STUB = 0.6  # of the width: a line that ends before, with room for the next word, was meant to end there

_GAP = re.compile(r"\S {3,}\S")
# where a dash opens what somebody says, as quotation marks do elsewhere
_SPEECH = re.compile(r"\s*[-–—]{1,2}\s?[^\W\d_a-zà-þ]|\s*[-–—]{1,2}\s?[¿¡]")
_ENDS = (".", "!", "?", ":", "…", "»", "”", '"', "'", "’")
_FULL_STUB = re.compile(r"(?:or|and|to|und|oder|bis|ou|et|y|o|e|och|eller)\b")  # after a hyphen that stands for a word

Block = list[str]


def unwrap(text: str) -> str:
    r"""The text with every paragraph of prose on one line; lines end in `\n`, without white space before it."""
    lines = [line.rstrip() for line in text.split("\n")]
    paragraphs = list(_paragraphs(lines))
    width = _usual_width(paragraphs)
    joined: list[str] = []
    for paragraph in paragraphs:
        for block in _blocks(paragraph):
            joined += _join(block, width) if _is_prose(block, width) else block
    return "\n".join(joined)


def _paragraphs(lines: Sequence[str]) -> Iterator[Block]:
    """Runs of lines that are not blank; blank lines one by one."""
    held: Block = []
    for line in lines:
        if line:
            held.append(line)
            continue
        if held:
            yield held
            held = []
        yield [line]
    if held:
        yield held


def _blocks(paragraph: Block) -> Iterator[Block]:
    """Cut a paragraph where the indentation changes, that of its first line aside, for it may open a paragraph."""
    held: Block = []
    for line in paragraph:
        if len(held) == 1 and _indent(line) < _indent(held[0]) <= _indent(line) + 8 and _is_full(held[0], line):
            held.append(line)  # the first line of a paragraph, moved in
        elif held and _indent(line) != _indent(held[-1]) and not (len(held) > 1 and _indent(line) == _indent(held[1])):
            yield held
            held = [line]
        else:
            held.append(line)
    if held:
        yield held


def _is_full(line: str, following: str) -> bool:
    return len(line) + 1 + len(_first_word(following)) > max(NARROWEST, len(following))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _first_word(line: str) -> str:
    return line.split(maxsplit=1)[0]


def _usual_width(paragraphs: Sequence[Block]) -> int:
    """The width that the book's longer paragraphs of prose were broken at; their median."""
    widths = sorted(_width(block) for paragraph in paragraphs for block in _blocks(paragraph) if _is_long_prose(block))
    return widths[len(widths) // 2] if widths else USUAL_WIDTH


def _width(block: Block) -> int:
    """That of the longest line; one in ten may stick out, for editors put a word in without breaking the rest anew."""
    lengths = sorted(len(line) for line in block)
    return lengths[len(lengths) - 1 - len(lengths) // 10]


def _early_breaks(block: Block, width: int) -> int:
    """How many lines end although the next word would have fitted."""
    return sum(len(line) + 1 + len(_first_word(following)) <= width for line, following in pairwise(block))


def _is_long_prose(block: Block) -> bool:
    """Whether a block of four lines or more shows by itself that it is prose."""
    return len(block) > 3 and _was_broken_at(block, _width(block))


def _is_prose(block: Block, usual: int) -> bool:
    """Whether the lines of a block are to be joined. A short block is measured with the width of the book."""
    if len(block) < 2:
        return False
    if _is_long_prose(block) or _was_broken_at(block, max(NARROWEST, usual - SLACK)):
        return True
    long_enough = all(len(line) >= max(NARROWEST, LONG_LINE * usual) for line in block[:-1])
    return long_enough and not _indent(block[0]) and not _begins_anew(block) and not _is_table(block)


def _was_broken_at(block: Block, width: int) -> bool:
    breaks = len(block) - 1
    early = _early_breaks(block, width)
    if _begins_anew(block) and (early or breaks > 4 or _indent(block[0])):
        return False
    return width >= NARROWEST and early <= EARLY_SHARE * breaks and not _is_table(block)


def _begins_anew(block: Block) -> bool:
    """Whether each line begins with a capital letter, as verse does."""
    return all(line.lstrip(" \"'“‘«»„_—-([*")[:1].isupper() for line in block[1:])


def _is_table(block: Block) -> bool:
    """Whether a third of the lines have gaps."""
    return sum(_GAP.search(line.lstrip()) is not None for line in block) * 3 > len(block)


def _join(block: Block, usual: int) -> list[str]:
    """The block on one line, or on a few: where somebody begins to speak, or a line ends far too early for prose."""
    width = _width(block) if len(block) > 3 else usual
    joined = [block[0].strip()]
    for line, following in pairwise(block):
        word = _first_word(following)
        speaks = _SPEECH.match(following) and line.endswith(_ENDS)
        if speaks or len(line) + 1 + len(word) <= STUB * width:
            joined.append(following.strip())
        else:
            joined[-1] += ("" if _sticks(joined[-1], following.strip()) else " ") + following.strip()
    return joined


def _sticks(before: str, after: str) -> bool:
    """Whether the line break stands for nothing: after or before a dash without spaces, or within a hyphened word."""
    if before.endswith(("--", "—")):
        return before.rstrip("-—")[-1:] not in ("", " ")
    if before.endswith("-"):
        return before[-2:-1].isalnum() and after[:1].isalnum() and not _FULL_STUB.match(after)
    return after.startswith(("--", "—")) and after.lstrip("-—")[:1] not in ("", " ")
