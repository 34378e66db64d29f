"""Web addresses, pictographs and drawn boxes: taken out, or replaced by a placeholder."""

import re
from typing import Literal

from data.edits.config import Symbols

URL = "<URL>"

_ADDRESS = re.compile(
    r"(?:(?:[Hh]ttps?|HTTPS?|ftp)://|(?:[Ww]ww|WWW)\.(?=\w))(?:[^\s<>\"'`()\[\]{}|\\^]|\([^\s<>()]*\))+"
)
_TRACES = ("://", "www.", "WWW.", "Www.")
_BEHIND = ".,;:!?*_"  # of the sentence, not of the address
_SIGNS: dict[Symbols, str] = {
    # Emoji and dingbats of Unicode 16, with what varies, joins and colours them
    "pictographs": r"[\u2600-\u27bf\u2b1b\u2b1c\u2b50\u2b55\U0001f000-\U0001faff]"
    r"[\ufe0e\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*",
    "boxes": r"[\u2500-\u259f]+",
}
_PATTERNS = {name: re.compile(signs) for name, signs in _SIGNS.items()}


def replace_urls(text: str, how: Literal["keep", "remove", "placeholder"]) -> tuple[str, int]:
    """The text without web addresses, or with the placeholder for each, and how many there were."""
    if how == "keep" or not any(trace in text for trace in _TRACES):
        return text, 0
    return _ADDRESS.subn(lambda match: _shortened(match[0], URL if how == "placeholder" else ""), text)


def _shortened(address: str, placeholder: str) -> str:
    return placeholder + address[len(address.rstrip(_BEHIND)) :]


def take_out_symbols(text: str, which: tuple[Symbols, ...]) -> tuple[str, int]:
    """The text without the signs chosen, and how many runs of them went."""
    count = 0
    if not text.isascii():
        for name in which:
            text, found = _PATTERNS[name].subn("", text)
            count += found
    return text, count


def make_lower_case(text: str) -> tuple[str, int]:
    """The text in lower case but for the placeholder of addresses, and 1 if that changed anything."""
    lower = URL.join(part.lower() for part in text.split(URL))
    return lower, int(lower != text)
