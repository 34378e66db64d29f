"""Which authors and posts lines of Reddit dumps name, as far as that can be told without parsing them.

Keys count however JSON spells them: `"\\u0061uthor"` is `"author"`, which nobody writes and anybody may.
"""

import json
import re
from collections.abc import Iterator

_AUTHORS = re.compile(rb'author"\s*:\s*("(?:[^"\\]|\\.)*")')  # and what ends so; also in posts that are passed on
_NAMES = re.compile(rb'"(?:link_id|id)"\s*:\s*"(?:t3_)?([0-9a-z]+)"')
_OF_OTHERS = (b'"link_author"', b'"crosspost_parent_list"', b'"parent_author"')
_ESCAPED = re.compile(rb"\\u00(3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])")  # digits, letters, _
_ESCAPED_KEY = re.compile(_ESCAPED.pattern + rb'(?:[^"\\]|\\.){0,120}"\s*:')  # 120: of the longest key, all escaped


def spelt_out(text: bytes) -> bytes:
    """Text in which keys hold no escaped letters; the very same where they never did. Values may change, too: it is
    good for looking at, not for keeping."""
    if b"\\u00" not in text or not _ESCAPED_KEY.search(text):
        return text
    return _ESCAPED.sub(lambda one: bytes([int(one[1], 16)]), text)


def authors_in(text: bytes) -> Iterator[str]:
    """The names of all that lines call an author of something, of what they pass on, too."""
    for name in set(_AUTHORS.findall(spelt_out(text))):
        try:
            yield str(json.loads(name.decode("utf-8", "replace")))
        except ValueError:
            continue


def ids_in(line: bytes) -> set[str]:
    """The ids that a line which cannot be read may have, as documents have them."""
    return {kind + name.decode() for name in _NAMES.findall(spelt_out(line)) for kind in ("t1_", "t3_")}


def names_others(text: bytes) -> bool:
    """Whether posts hold something of others' posts that names these."""
    text = spelt_out(text)
    return any(name in text for name in _OF_OTHERS)
