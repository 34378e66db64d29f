"""Mojibake: text that somebody decoded wrongly before it came here, repaired by ftfy where ftfy finds it.

ftfy's rules decide what is mojibake; here they are only kept from costing anything on clean text, and from one mistake.
Lines are repaired one by one, as ftfy does it, so that one damaged line changes no other.
"""

import re
from functools import cache
from typing import Any

# Letters of next to no language that ftfy makes of a quotation mark and a letter, such as »É; it is wrong there.
_UNLIKELY = re.compile("[\u0200-\u0217\u021c-\u0233]")
_LINE_CHARACTERS = 1_000_000  # a longer line is left as it is
_PLAIN = ("common", "upper_common", "lower_common")  # categories of ftfy's that are found in clean text


def repair(text: str) -> str:
    """`text` with its mojibake repaired; the same object when there is none."""
    if text.isascii() or not (first := _neighbours().search(text)):
        return text
    suspicion = _suspicion()
    match = suspicion.search(text, max(0, first.start() - 1))
    if match is None:
        return text
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    pieces: list[str] = []
    done = 0  # what is before it is in the pieces
    while match is not None:
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.start())
        end = len(text) if end < 0 else end
        line = text[start:end]
        if len(line) <= _LINE_CHARACTERS and is_bad(line):
            fixed = fix_encoding(line)
            if fixed != line and (not _UNLIKELY.search(fixed) or _UNLIKELY.search(line)):
                pieces += (text[done:start], fixed)
                done = end
        match = suspicion.search(text, end)
    return "".join([*pieces, text[done:]]) if pieces else text


@cache
def _neighbours() -> Any:
    """What `_suspicion` finds has this in it; ten times as quick as that, and enough for most text in Latin letters."""
    import regex  # which many readers do without

    return regex.compile("[\x80-\U0010ffff](?:[\x80-\U0010ffff]|(?<=[\x80-\x9fŒœÃÂ]))")


@cache
def _suspicion() -> re.Pattern[str]:
    """A quick pattern that finds something in every text that ftfy holds for mojibake, and in little else.

    Each of ftfy's patterns asks for a C1 control, for one of Œ œ Ã Â, or for two neighbours of its categories, not
    both of them from those that clean text is full of. (Ђ is among those, and a sign of mojibake nevertheless.)
    """
    from ftfy.badness import MOJIBAKE_CATEGORIES as CATEGORIES

    known = "".join(CATEGORIES.values())
    telling = "".join(signs for name, signs in CATEGORIES.items() if name not in _PLAIN) + "Ђ"
    alone = "\x80-\x9fŒœÃÂ"
    return re.compile(f"[{telling}{alone}](?:[{known}]|(?<=[{alone}])|(?<=[{known}].))", re.DOTALL)
