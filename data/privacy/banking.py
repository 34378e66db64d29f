"""International bank account numbers: country, length, check digits (ISO 13616, check of ISO/IEC 7064)."""

import re
from collections.abc import Iterator
from functools import cache

from data.privacy.spans import Span, stands_alone

_LENGTHS = {  # characters by country, from SWIFT's IBAN registry
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
LENGTHS = {country: length for length, countries in _LENGTHS.items() for country in countries.split()}
_BEGIN = re.compile(b"AA00")


def ibans(text: str, classes: bytes) -> Iterator[Span]:
    """Account numbers in capitals, in one piece or in groups; `classes` as data/privacy/numbers.py has them."""
    for at in _BEGIN.finditer(classes):
        begin = at.start()
        length = LENGTHS.get(text[begin : begin + 2])
        match = _of_length(length).match(text, begin) if length else None
        if match and stands_alone(text, *match.span()) and is_iban(match[0]):
            yield match.span()


@cache
def _of_length(length: int) -> re.Pattern[str]:
    return re.compile(rf"[A-Z]{{2}}[0-9]{{2}}(?:[ \u00a0\u202f-]?[A-Z0-9]){{{length - 4}}}")


def is_iban(written: str) -> bool:
    """Whether the length is that of its country and the check digits are right."""
    plain = "".join(one for one in written if one.isalnum())
    if LENGTHS.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1
