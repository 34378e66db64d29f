"""Access keys and tokens: strings that let whoever reads them in. Known forms only, each told by how it begins.

The forms are those that their issuers publish (AWS, GitHub, Slack, OpenAI, Anthropic, Google, Discord; RFC 7519 for
JSON web tokens, RFC 7468 for PEM). A text that has none of the beginnings costs a few searches for rare letters.
"""

import base64
import binascii
import re
from collections.abc import Iterator

from data.privacy.spans import Span, stands_alone

_ANY = "[A-Za-z0-9_-]"
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (head, re.compile(form))
    for head, form in (
        ("AKIA", "AKIA[A-Z0-9]{16}"),
        ("ASIA", "ASIA[A-Z0-9]{16}"),
        ("ghp_", "ghp_[A-Za-z0-9]{36,255}"),
        ("gho_", "gho_[A-Za-z0-9]{36,255}"),
        ("ghu_", "ghu_[A-Za-z0-9]{36,255}"),
        ("ghs_", "ghs_[A-Za-z0-9]{36,255}"),
        ("ghr_", "ghr_[A-Za-z0-9]{36,255}"),
        ("github_pat_", "github_pat_[A-Za-z0-9_]{22,255}"),
        ("xox", r"xox[a-z](?:\.xox[a-z])?-(?:[A-Za-z0-9]{1,250}-){0,4}[A-Za-z0-9%]{8,500}"),
        ("sk-", f"sk-(?:(?:proj|svcacct|admin|or-v1|ant-[a-z0-9]{{2,12}})-{_ANY}{{20,300}}|[A-Za-z0-9]{{20,200}})"),
        ("AIza", f"AIza{_ANY}{{35}}"),
        ("eyJ", rf"eyJ{_ANY}{{8,4000}}\.eyJ{_ANY}{{8,8000}}\.{_ANY}{{10,2000}}"),
    )
)
# Together these find the beginnings of all forms, sooner than one search for each: by a letter that few words have
_HINTS = (
    re.compile(rb"A(?:KIA|SIA|Iza)"),
    re.compile(rb"_(?:(?<=gh[pousr]_)|(?<=github_pat_))"),
    re.compile(rb"x(?<=xox)"),
    re.compile(rb"k(?<=sk)-"),
    re.compile(rb"J(?<=eyJ)"),
)
_NEEDS_DIGITS = re.compile(r"(?:[^0-9]*[0-9]){2}")
_DISCORD = re.compile(rf"\.({_ANY}{{6,7}})\.({_ANY}{{27,45}})")
_DISCORD_ID = re.compile(r"[A-Za-z0-9]{18,40}\Z")
_PEM_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_PEM_CHARACTERS = 20_000  # of one block, more than RSA keys of 16,384 bits need
_PEM_LINES = re.compile(r"(?:(?:\s|\\n)*+[A-Za-z0-9+/=]{40,}+)*+(?:\s*+[A-Za-z0-9+/=]{4,}=)?")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=\s\\:,.-]*+\Z")
_PEM_BASE64 = re.compile(r"[A-Za-z0-9+/=]{40}")


def secrets(text: str, latin: bytes) -> Iterator[Span]:
    """Keys of known forms, JSON web tokens, Discord's bot tokens and blocks of private keys.

    latin  the text in Latin-1, with ? for all other letters
    """
    if any(hint.search(latin) for hint in _HINTS):
        for head, form in _FORMS:
            if head in text:
                yield from _of_form(text, head, form)
    if text.count(".") > 1:
        yield from _discord_tokens(text)
    if "-----BEGIN " in text:
        yield from _private_keys(text)


def _of_form(text: str, head: str, form: re.Pattern[str]) -> Iterator[Span]:
    at = text.find(head)
    while at >= 0:
        after = at + len(head)
        if at == 0 or not (text[at - 1].isalnum() or text[at - 1] in "_-"):
            match = form.match(text, at)
            if match and stands_alone(text, *match.span(), "_-") and _NEEDS_DIGITS.match(match[0]):
                after = match.end()
                yield at, after
        at = text.find(head, after)


def _discord_tokens(text: str) -> Iterator[Span]:
    """Three parts between dots; the first is the bot's id, a number of 17 to 20 digits, in base64."""
    for match in _DISCORD.finditer(text):
        first = _DISCORD_ID.search(text, max(0, match.start() - 40), match.start())
        if first and _is_number(first[0]) and stands_alone(text, first.start(), match.end(), "_-"):
            yield first.start(), match.end()


def _is_number(part: str) -> bool:
    try:
        decoded = base64.b64decode(part + "=" * (-len(part) % 4), validate=True)
    except binascii.Error:
        return False
    return decoded.isdigit() and 17 <= len(decoded) <= 20


def _private_keys(text: str) -> Iterator[Span]:
    """Whole blocks; of one without an end, the lines of base64 behind its beginning."""
    after = 0
    while begin := _PEM_BEGIN.search(text, after):
        after = begin.end()
        end = _PEM_END.search(text, after, after + _PEM_CHARACTERS)
        inside = text[after : end.start()] if end else ""
        if end and _PEM_BODY.match(inside) and _PEM_BASE64.search(inside):
            after = end.end()
            yield begin.start(), after
        elif (lines := _PEM_LINES.match(text, after)) and lines.end() - after >= 40:
            after = lines.end()
            yield begin.start(), after
