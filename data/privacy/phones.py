"""Phone numbers: international ones, national ones in the shapes that countries write, and others where a word says so.

What only looks so is left alone: years, dates and times, ISBNs, decimal numbers and amounts, plain long numbers.
"""

import re
from collections.abc import Iterator, Sequence

from data.privacy.numbers import DASHES, SPACES
from data.privacy.spans import Span, number_goes_on, stands_alone

_S = rf"[{SPACES}{DASHES}./]"  # between two groups
_WIDE = rf"(?:[{SPACES}]?[{DASHES}./][{SPACES}]?|[{SPACES}])"
_GAP = rf"[{SPACES}{DASHES}./()]{{0,2}}"
_SHAPES = re.compile(
    "|".join(
        f"(?P<{name}>{shape})(?![0-9])"
        for name, shape in (
            ("plus_one", rf"\+1{_GAP}[2-9][0-9]{{2}}{_GAP}[2-9][0-9]{{2}}{_S}?[0-9]{{4}}"),
            ("plus", rf"\+\(?[2-9](?:{_GAP}[0-9]){{7,14}}"),
            ("zeros", rf"00[1-9][0-9]{{0,2}}(?:{_S}(?:\(0\){_S}?)?[0-9]{{1,8}}){{2,5}}"),
            (
                "america",
                rf"(?:1{_S})?(?:\([2-9][0-9]{{2}}\){_S}?|[2-9][0-9]{{2}}[{DASHES}.])[2-9][0-9]{{2}}{_S}[0-9]{{4}}",
            ),
            ("trunk", rf"\(?0[1-9][0-9]{{0,4}}\)?{_WIDE}[0-9]{{2,8}}(?:{_WIDE}[0-9]{{2,8}}){{0,4}}"),
            ("eight", rf"8{_S}?\(?9[0-9]{{2}}\)?{_S}[0-9]{{3}}{_S}[0-9]{{2}}{_S}[0-9]{{2}}"),
            ("brazil", rf"\([1-9][0-9]\){_S}?9?[0-9]{{4}}[ {DASHES}][0-9]{{4}}"),
            ("china", "1[3-9][0-9][ -][0-9]{4}[ -][0-9]{4}"),
        )
    )
)
_NAMED = re.compile(rf"\(?[0-9](?:{_GAP}[0-9]){{6,14}}(?![0-9])")
_WORDS = (
    "phone|telephone|tel|telefon|téléphone|tél|teléfono|telefono|telefone|handy|mobil|mobile|móvil|portable|cell|fax|"
    "whatsapp|call|ph|nummer|☎|☏|📞|📱"
)
_KNOWN_WORDS = frozenset(_WORDS.split("|"))
_WORD = re.compile(r"[^\W\d_]+|[☎☏📞📱]")
_WORD_BEFORE = re.compile(
    rf"(?<![^\W_])(?<!<)(?:{_WORDS})(?![^\W_])[\W_]{{0,4}}"
    r"(?:(?:numbers?|no|nr|is|me|us|him|her|at|on|ist|est|es)\b[\W_]{1,3}){0,3}\Z"
)
_BEFORE_CHARACTERS = 40
_DATE = re.compile(
    r"\(?(?:[0-3]?[0-9][./-][01]?[0-9][./-](?:1[5-9]|20)[0-9]{2}|[01]?[0-9][./-][0-3]?[0-9][./-](?:1[5-9]|20)[0-9]{2}|"
    r"(?:1[5-9]|20)[0-9]{2}[./ -][01]?[0-9][./ -][0-3]?[0-9])(?![0-9])"
)
_YEARS = re.compile(rf"(?:1[0-9]|20)[0-9]{{2}}{_WIDE}(?:1[0-9]|20)[0-9]{{2}}\Z")
_FOUR_PARTS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")
_SOCIAL_SECURITY = re.compile(r"[0-9]{3}-[0-9]{2}-[0-9]{4}\Z")
_THOUSANDS = re.compile(r"\+[0-9]{1,3}(?:[. ][0-9]{3})+\Z")
_PAIRS = re.compile(rf"[0-9]{{2}}(?:{_WIDE}[0-9]{{2}})+\Z")
_LETTERS_AFTER = re.compile(r"-[^\W_]")  # 1-800-FLOWERS, part numbers, identifiers
_AMOUNT_BEFORE = re.compile(r"[$€£¥] ?\Z")
_LETTERS_BEFORE = re.compile(r"[^\W_]-\Z")
_OTHER_NUMBERS = "#%_@"  # beside a number: a count, a share, a part of something


def phones(text: str, found: Sequence[Span]) -> Iterator[Span]:
    """Phone numbers in stretches of digits."""
    for begin, end in found:
        while begin and text[begin - 1] in "+(":
            begin -= 1
        nothing = True
        for match in _SHAPES.finditer(text, begin, end):
            if _is_phone(text, match.start(), match.end(), match.lastgroup or ""):
                nothing = False
                yield match.span()
        if nothing and _is_announced(text[max(0, begin - _BEFORE_CHARACTERS) : begin].lower()):
            named = _NAMED.search(text, begin, end)
            if named and _is_phone(text, named.start(), named.end(), "named"):
                yield named.span()


def _is_announced(before: str) -> bool:
    """Whether the text before a number, in small letters, ends in a word such as phone."""
    return not _KNOWN_WORDS.isdisjoint(_WORD.findall(before)) and _WORD_BEFORE.search(before) is not None


def _is_phone(text: str, begin: int, end: int, shape: str) -> bool:
    written = text[begin:end]
    if not stands_alone(text, begin, end, _OTHER_NUMBERS) or number_goes_on(text, begin, end, "-./,:"):
        return False
    if _LETTERS_AFTER.match(text, end) or _LETTERS_BEFORE.search(text, max(0, begin - 2), begin):
        return False
    if _AMOUNT_BEFORE.search(text, max(0, begin - 2), begin) or _SOCIAL_SECURITY.match(written):
        return False
    if _DATE.match(written) or _YEARS.match(written) or _FOUR_PARTS.match(written):
        return False
    digits = sum(one.isdigit() for one in written)
    if shape == "plus":
        return not (digits < 10 and (written[1:].isdigit() or _THOUSANDS.match(written)))
    if shape == "zeros":
        return 10 <= digits <= 17
    if shape == "trunk":
        return 9 <= digits <= 12 and (digits == 10 or not _PAIRS.match(written))
    return True
