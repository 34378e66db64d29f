"""Lines that come again and again in one document, such as those of buttons and menus: only the first stays.

Three kinds of text repeat lines on purpose and are left alone. Verse has refrains: a stanza is two or more lines side
by side, none longer than 80 characters, half or more of which end in a mark of punctuation; where half of all lines
are in stanzas, the whole text is verse. Code is fenced, indented, or ends its lines in brackets, colons and the like.
Rows of tables hold a bar, a tab, or runs of spaces. A heading that comes again and again (as in diaries) is not told
from a button.
"""

import re
from collections import Counter
from collections.abc import Iterator

LONGEST_VERSE = 80  # characters
VERSE_ENDS = tuple(".,;:!?—–-…'\"”’)»")
_CODE_ENDS = tuple("{}()[];:,=\\<>+*/|&")
_COLUMNS = re.compile(r"\S(?:\t| {2,})\S|\|")


def take_out_repeated_lines(text: str, most: int, shortest: int) -> tuple[str, int]:
    """The text without lines, but the first, that come more often than `most` times, and how many went.

    shortest  characters of the shortest line that counts, without white space around it
    """
    lines = text.split("\n")
    if len(lines) <= most:
        return text, 0
    times = Counter(lines)
    often = {line for line, count in times.items() if count > most and len(line.strip()) >= shortest}
    often = {line for line in often if not _is_code_or_table(line)}
    if not often:
        return text, 0
    kept = set(_protected(lines))
    seen: set[str] = set()
    left = []
    for at, line in enumerate(lines):
        if at in kept or line not in often or line not in seen:
            left.append(line)
        seen.add(line)
    return "\n".join(left), len(lines) - len(left)


def _is_code_or_table(line: str) -> bool:
    return line[:1] in (" ", "\t") or line.endswith(_CODE_ENDS) or _COLUMNS.search(line) is not None


def _protected(lines: list[str]) -> Iterator[int]:
    """Numbers of the lines that lie in verse or in fenced code."""
    verse: list[int] = []
    filled = 0
    for block in _blocks(lines):
        filled += len(block)
        ends = sum(lines[at].endswith(VERSE_ENDS) for at in block)
        if len(block) > 1 and 2 * ends >= len(block) and all(len(lines[at]) <= LONGEST_VERSE for at in block):
            verse += block
    if 2 * len(verse) >= filled:
        verse = list(range(len(lines)))
    yield from verse
    fenced = False
    for at, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif fenced:
            yield at


def _blocks(lines: list[str]) -> Iterator[list[int]]:
    """Numbers of lines side by side, without a blank line between them."""
    block: list[int] = []
    for at, line in enumerate([*lines, ""]):
        if line.strip():
            block.append(at)
        elif block:
            yield block
            block = []
