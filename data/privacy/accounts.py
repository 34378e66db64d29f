"""E-mail addresses, and mentions of accounts: Discord's by id, Reddit's by name.

Each is looked for from characters that it cannot do without, outwards: a text costs what such characters in it do.
"""

import re
from collections.abc import Iterator

from data.privacy.spans import Span, stands_alone
from data.sources.chats.pseudonyms import MADE_NAME

_LOCAL_CHARACTERS = 64  # RFC 5321, 4.5.3.1.1
_LETTERS = "A-Za-z\u00c0-\u058f"  # Latin, Greek, Cyrillic, Armenian: with others one cannot tell where words end
_LOCAL_BACKWARDS = re.compile(rf"[{_LETTERS}0-9_.%+'-]*+")
_DOMAIN = re.compile(
    rf"(?:[{_LETTERS}0-9][{_LETTERS}0-9_-]{{0,62}}\.){{1,8}}(?:xn--[a-z0-9-]{{2,59}}|[{_LETTERS}]{{2,24}})"
    rf"(?![{_LETTERS}0-9_-])"
)
_FILE_ENDINGS = re.compile("avif|css|dll|exe|gif|gz|html?|jpe?g|js|json|md|pdf|png|svg|tar|tgz|txt|webp|zip")

_MENTION = re.compile(r"<@!?[0-9]{15,20}>")
_BARE_ID = re.compile(r"@!?[0-9]{17,20}")
_REDDIT_NAME = re.compile(r"[A-Za-z0-9_-]{3,20}(?![\w-])")
_PATH_GOES_ON = re.compile(r"/\w")
_QUANTITY = re.compile(r"[0-9] ?\Z")  # 5 u/min is a rate


def emails(text: str) -> Iterator[Span]:
    """Addresses whose domain has a dot; letters of all alphabets, and no domain that is the end of a file's name."""
    at = text.find("@")
    while at >= 0:
        begin = _local_part(text, at)
        domain = _DOMAIN.match(text, at + 1) if begin < at else None
        after = at + 1
        if domain and stands_alone(text, begin, domain.end()):
            after = domain.end()
            ending = domain[0].rpartition(".")[2].lower()
            is_repository = text[begin:at] == "git" and text[after : after + 1] in (":", "/")
            if not _FILE_ENDINGS.fullmatch(ending) and not is_repository:
                yield begin, after
        at = text.find("@", after)


def _local_part(text: str, at: int) -> int:
    """Where the name before the @ begins; `at` where there is none, or one that is too long."""
    before = text[max(0, at - _LOCAL_CHARACTERS - 1) : at][::-1]
    match = _LOCAL_BACKWARDS.match(before)
    length = match.end() if match else 0
    if length > _LOCAL_CHARACTERS or before.startswith("."):
        return at
    name = before[:length][::-1]
    return at - len(name.lstrip(".'%+-"))


def users(text: str) -> Iterator[Span]:
    """Mentions by id (<@123...>, <@!123...>, @123...) and by name (u/name, /u/name).

    Names that the chat sources made for authors (see data/sources/chats/pseudonyms.py) are nobody's and stay.
    """
    if "@" in text:
        for match in _MENTION.finditer(text):
            yield match.span()
        for match in _BARE_ID.finditer(text):
            if stands_alone(text, *match.span(), "_<"):
                yield match.span()
    at = text.find("u/")
    while at >= 0:
        if name := _REDDIT_NAME.match(text, at + 2):
            begin = at - 1 if text[at - 1 : at] == "/" else at
            if _may_be_reddit(text, begin, name.end()) and not MADE_NAME.match(text, at + 2):
                yield begin, name.end()
        at = text.find("u/", at + 2)


def _may_be_reddit(text: str, begin: int, end: int) -> bool:
    """Whether a name stands by itself or behind reddit.com, and is no part of a path and no unit."""
    if text.endswith("reddit.com", 0, begin):
        return True
    if (
        not stands_alone(text, begin, end)
        or text[begin - 1 : begin] in ("/", "~")
        or text[begin - 1 : begin + 1] == "./"
    ):
        return False
    return not (_PATH_GOES_ON.match(text, end) or _QUANTITY.search(text, max(0, begin - 2), begin))
