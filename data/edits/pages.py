"""What printed pages leave in the text of a book: page numbers and running heads.

A number that stands alone in a line may also be that of a chapter, of a stanza, or a row of figures. Page numbers are
told from those by three things: they ascend through the text, at least three of them; from one to the next lie 300 to
8,000 characters per page; and they fall into the midst of sentences, at least every fourth of them. Chapters and
stanzas begin where a sentence has ended. A running head comes with such numbers in its line, or directly beside them,
at least three times in the same words.
"""

import re
from collections import Counter, defaultdict
from typing import NamedTuple

_FEWEST = 3
_PAGE = (300, 8_000)  # characters from one page number to the next, per page
_WITHIN_SENTENCES = 4  # at least one in so many
_LONGEST_HEAD = 60  # characters
_ALONE = re.compile(r"^[ \t]*(?:[-–—\[(][ \t]?)?(?:[Pp](?:age|\.) ?)?(\d{1,4})(?:[ \t]?[-–—\])])?[ \t]*$", re.MULTILINE)
_LEADING = re.compile(r"^[ \t]*(\d{1,4})[ \t]+(\S[^\n]{0,60})$", re.MULTILINE)
_TRAILING = re.compile(r"[ \t](\d{1,4})[ \t]*$", re.MULTILINE)
_NEXT_LINE = re.compile(r"\n+([^\n]+)")
_ENDS = ".!?:;\"'”’»)*_—"  # what may end a sentence, or a paragraph


class _Mark(NamedTuple):
    """A line that may belong to no sentence: where it lies, without its line feed, and its number."""

    start: int
    end: int
    number: int


def take_out_page_numbers(text: str) -> tuple[str, int]:
    """The text without lines of page numbers alone, and how many there were."""
    return _without(text, _page_numbers(text))


def take_out_running_heads(text: str) -> tuple[str, int]:
    """The text without heads that come again at page breaks, and how many there were."""
    numbers = _page_numbers(text)
    groups: defaultdict[str, list[_Mark]] = defaultdict(list)
    for match in _LEADING.finditer(text):
        groups[match[2].strip()].append(_Mark(match.start(), match.end(), int(match[1])))
    for match in _TRAILING.finditer(text):
        start = text.rfind("\n", 0, match.start()) + 1
        if match.end() - start <= _LONGEST_HEAD and (head := text[start : match.start()].strip()):
            groups[head].append(_Mark(start, match.end(), int(match[1])))
    marks = [mark for head, group in groups.items() if any(map(str.isalpha, head)) for mark in _pages(text, group)]
    beside = [mark for number in numbers for mark in _neighbours(text, number)]
    times = Counter(text[mark.start : mark.end].strip() for mark in beside)
    marks += [mark for mark in beside if times[text[mark.start : mark.end].strip()] >= _FEWEST]
    return _without(text, sorted(set(marks)))


def _page_numbers(text: str) -> list[_Mark]:
    return _pages(text, [_Mark(match.start(), match.end(), int(match[1])) for match in _ALONE.finditer(text)])


def _pages(text: str, marks: list[_Mark]) -> list[_Mark]:
    """The marks that are numbers of pages: the longest run from the first that fits, or none."""
    if len(marks) < _FEWEST:
        return []
    runs: list[list[_Mark]] = []
    for mark in marks:
        for run in runs[-4:]:  # a stray number between two pages does not end their run
            pages = mark.number - run[-1].number
            if _PAGE[0] * pages <= mark.start - run[-1].end <= _PAGE[1] * pages:
                run.append(mark)
                break
        else:
            runs.append([mark])
    found = []
    for run in runs:
        within = sum(_is_within_sentence(text, mark) for mark in run)
        if len(run) >= _FEWEST and within * _WITHIN_SENTENCES >= len(run):
            found += run
    return sorted(found)


def _is_within_sentence(text: str, mark: _Mark) -> bool:
    """Whether the sentence before the mark goes on behind it; lines beside it that may be heads are passed over."""
    before = text[max(0, mark.start - 200) : mark.start].rstrip()
    behind = text[mark.end : mark.end + 200].lstrip()
    for _ in range(2):
        if not before or before[-1] in _ENDS:
            return False
        if behind[:1].islower():
            return True
        behind = behind.partition("\n")[2].lstrip()  # the line may be a head
    return False


def _neighbours(text: str, mark: _Mark) -> list[_Mark]:
    """The lines directly before and behind, blank lines between them passed over, if they are short enough."""
    found = []
    before = text[: mark.start].rstrip() if mark.start < 200 else text[mark.start - 200 : mark.start].rstrip()
    end = mark.start - (min(mark.start, 200) - len(before))
    start = text.rfind("\n", 0, end) + 1
    if 0 < end - start <= _LONGEST_HEAD:
        found.append(_Mark(start, end, mark.number))
    behind = _NEXT_LINE.match(text, mark.end)
    if behind and len(behind[1]) <= _LONGEST_HEAD:
        found.append(_Mark(behind.start(1), behind.end(1), mark.number))
    return found


def _without(text: str, marks: list[_Mark]) -> tuple[str, int]:
    """The text without those lines; where a sentence goes on behind them, the blank lines around go, too."""
    if not marks:
        return text, 0
    pieces: list[str] = []
    done = count = 0
    for mark in marks:
        if mark.start < done:
            continue
        kept = text[done : mark.start]
        done = mark.end
        while text.startswith("\n", done):
            done += 1
        count += 1
        blank = "\n\n" in text[mark.end : done] or kept.endswith("\n\n")
        going_on = text[done : done + 1].islower()
        pieces += (kept.rstrip(), "\n\n" if blank and not going_on else "\n")
    return "".join([*pieces, text[done:]]).strip("\n"), count
