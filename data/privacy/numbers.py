"""Stretches of digits, where phone numbers, cards and IPv4 addresses are looked for, and the cards.

Prose is searched for stretches once for all of them. They are rare there: years, prices and most dates are shorter or
broken by other characters.
"""

import re
from collections.abc import Iterator, Sequence

from data.privacy.spans import Span, number_goes_on, stands_alone

SPACES = " \u00a0\u202f"
DASHES = "\\-\u2010\u2011\u2013"
_STRETCH = re.compile(rf"[0-9][0-9{SPACES}{DASHES}./()]{{5,}}[0-9]")

_LATIN_SEPARATORS = b" \xa0-./()?"  # ? stands for all letters that are not Latin-1, the other separators among them
_CLASSES = bytes(
    b"0"[0] if byte in b"0123456789" else b"A"[0] if 65 <= byte <= 90 else b" "[0] if byte in _LATIN_SEPARATORS else 0
    for byte in range(256)
)
_CLASS_STRETCH = re.compile(rb"0[0 ]{5,}0")


def classes_of(latin: bytes) -> bytes:
    """One byte per character: 0 for a digit, A for a capital, a space for what may be a separator, else NUL.

    What patterns begin with is found in it several times as fast as in the text, which is given in Latin-1 with ? for
    all other letters.
    """
    return latin.translate(_CLASSES)


def stretches(text: str, classes: bytes) -> list[Span]:
    """Where at least 7 characters begin and end with a digit and have only separators besides digits in between."""
    found = []
    for rough in _CLASS_STRETCH.finditer(classes):
        found += [match.span() for match in _STRETCH.finditer(text, *rough.span())]
    return found


_CARD = re.compile(
    r"[0-9]{14,19}|[0-9]{4}([ -])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,3}(?![0-9]))?|[0-9]{6}\1[0-9]{4,5}|"
    r"[0-9]{3}\1[0-9]{3}\1[0-9]{3})"
)
_ISSUERS = (  # first and last prefix, lengths in digits: ISO/IEC 7812 as the issuers publish it
    ("4", "4", (13, 16, 19)),  # Visa
    ("51", "55", (16,)),  # Mastercard
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),
    ("300", "305", (14,)),  # Diners Club
    ("36", "36", (14,)),
    ("38", "39", (14,)),
    ("6011", "6011", (16, 19)),  # Discover
    ("644", "659", (16, 19)),
    ("3528", "3589", (16,)),  # JCB
    ("62", "62", (16, 17, 18, 19)),  # UnionPay
    ("5018", "5018", (16,)),  # Maestro
    ("5020", "5020", (16,)),
    ("5038", "5038", (16,)),
    ("6304", "6304", (16, 18, 19)),
    ("6759", "6763", (16, 18, 19)),
)


def cards(text: str, found: Sequence[Span]) -> Iterator[Span]:
    """Payment cards in stretches of digits: as one number or in the groups that are printed on them."""
    for begin, end in found:
        if end - begin < 14:
            continue
        for match in _CARD.finditer(text, begin, end):
            span = match.span()
            if stands_alone(text, *span) and not number_goes_on(text, *span) and is_card(match[0]):
                yield span


def is_card(written: str) -> bool:
    """Whether an issuer gives out such numbers and the check digit (Luhn, ISO/IEC 7812-1) is right."""
    digits = written.replace(" ", "").replace("-", "")
    known = any(len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in _ISSUERS)
    return known and luhn(digits)


def luhn(digits: str) -> bool:
    """From the right, every second digit doubled, and the digits of all added up: a multiple of 10."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(int(digit) for digit in digits[::-2])) % 10 == 0
