"""Words that were cut at line ends are joined again.

Both halves must be lower-case letters, at least two of them. A hyphen of the word's own stays: where the text has the
word with it elsewhere, and not without it. ("pre-\\nand post-war" stays as it is, as do words with a hyphen before.)
Verse may cut words on purpose, in short lines: where a cut line of several words has fewer than 40 characters, nothing
is joined, nor where hyphens are dashes around a parenthesis (" -said he-"). Code and tables are left alone.
"""

import re

from data.edits.code import edit_outside_code

_SHORTEST_LINE = 40  # characters
_BREAK = re.compile(r"\n(?<=[^\W\d_][-‐]\n)([ \t]*)([^\W\d_]{2,})(\S*)([ \t]*)")
_LEFT = re.compile(r"(?:^|[^\w’'‐-])([^\W\d_]{2,})[-‐]\Z")
_CONJUNCTIONS = re.compile("and|or|nor|to|und|oder|et|ou|y|o|e|ed|en|of|och|og")  # what stands after "pre-"
_PARENTHESIS = re.compile(r"\s-(?=[^\W\d_])")
_LONGEST_PARENTHESIS = 300  # characters
_LONGEST_HALF = 60  # characters looked back
_AROUND = ".,;:!?()[]{}<>\"'“”„‘’«»*_—–…"


def join_hyphenated(text: str) -> tuple[str, int]:
    """The text with such words joined, and how many they were. The rest of a word goes up to the first line."""
    if ("-\n" not in text and "‐\n" not in text) or not _BREAK.search(text):
        return text, 0
    known: set[str] | None = None
    count = 0

    def edit(part: str) -> str:
        nonlocal known, count
        pieces: list[str] = []
        done = 0
        for match in _BREAK.finditer(part):
            start = part.rfind("\n", 0, match.start()) + 1
            left = _LEFT.search(part[max(start, match.start() - _LONGEST_HALF) : match.start()])
            indent, right, rest, space = match.groups()
            if not left or not (left[1] + right).islower() or _CONJUNCTIONS.fullmatch(right):
                continue
            if _may_be_verse(part[start : match.start()].strip()):
                continue
            if _PARENTHESIS.search(part, max(0, match.start() - _LONGEST_PARENTHESIS), match.start()):
                continue
            known = _words(text) if known is None else known
            hyphen = "-" if f"{left[1]}-{right}" in known and left[1] + right not in known else ""
            pieces += (part[done : match.start() - 1], f"{hyphen}{right}{rest}" + (f"\n{indent}" if space else ""))
            done = match.end()
            count += 1
        return "".join([*pieces, part[done:]])

    return edit_outside_code(text, edit), count


def _may_be_verse(line: str) -> bool:
    return len(line) < _SHORTEST_LINE and " " in line


def _words(text: str) -> set[str]:
    """All words of the text, lower-case, without punctuation around them."""
    return {word.strip(_AROUND).replace("‐", "-") for word in set(text.lower().split())}
