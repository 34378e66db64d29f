"""Characters that nobody sees: soft hyphens, spaces and joiners without width.

Source: Unicode 16, sections 23.2 (layout controls) and 9.2, 12.1, 16.4 on the scripts in which joiners and U+200B bear
meaning: Arabic and Indic letters are shaped by joiners, emoji are composed with them, and the scripts of south-east
Asia that write no spaces mark borders of words by U+200B.
"""

import re

_TRACES = ("\xad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")
_WITHOUT_SPACES = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\ua9e0-\uaa7f"
_JOINING = (
    "\u0590-\u1dff\u200c\u200d\u203c\u2049\u20e3\u2190-\u2bff\u3030\u303d\u3297\u3299\ua800-\uabff\ufb1d-\ufdff"
    "\ufe00-\ufe0f\ufe70-\ufefc\U00010800-\U0001faff\U000e0020-\U000e007f"
)
_CUT_WORD = re.compile(r"(?<=[^\W\d_])\xad\n([ \t]*)([^\W\d_][^\s\xad]*)([ \t]*)")
_INVISIBLE = re.compile(
    f"[\xad\u2060\ufeff]+|(?<![{_WITHOUT_SPACES}\u200b])\u200b++(?![{_WITHOUT_SPACES}])"
    f"|(?<![{_JOINING}])[\u200c\u200d]++(?![{_JOINING}])"
)


def take_out_invisible(text: str) -> tuple[str, int]:
    """The text without them, and how many runs of them went. A word cut at a line end by a soft hyphen is joined."""
    if not may_have_invisible(text):
        return text, 0
    joined = 0
    if "\xad\n" in text:
        text, joined = _CUT_WORD.subn(_join, text)
    text, count = _INVISIBLE.subn("", text)
    return text, joined + count


def may_have_invisible(characters: str) -> bool:
    """Whether something is to be taken out of a text of these characters, whatever their order."""
    return not characters.isascii() and any(trace in characters for trace in _TRACES)


def _join(match: re.Match[str]) -> str:
    """The rest of the word goes up to the line where it began, and the line break behind it."""
    return f"{match[2]}\n{match[1]}" if match[3] else match[2]
