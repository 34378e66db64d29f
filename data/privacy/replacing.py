"""Personal data in a text replaced by placeholders, by the patterns of the other modules here."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from data.privacy.accounts import emails, users
from data.privacy.addresses import ipv4_addresses, ipv6_addresses
from data.privacy.banking import ibans
from data.privacy.config import PLACEHOLDERS, TYPES, PersonalType, Replaceable
from data.privacy.keys import secrets
from data.privacy.numbers import cards, classes_of, stretches
from data.privacy.phones import phones
from data.privacy.spans import Span

_AROUND = 300  # characters; farther away no placeholder changes what is found
_ROUNDS = 10
OVERLAY = "\u0338"  # would make one letter of itself and a placeholder's end (NFC)


@dataclass(frozen=True)
class Found:
    """Personal data of one type at text[begin:end]."""

    begin: int
    end: int
    type: PersonalType


def replace(text: str, types: Collection[PersonalType] = TYPES) -> tuple[str, Counter[Replaceable]]:
    """`text` with a placeholder for each thing of the given types, and how many there were of each.

    Replacing what was replaced changes nothing: it is done until nothing is found, which nearly always means once. To
    keep the time linear whatever the text, there is an end to that after `_ROUNDS`.
    """
    counts: Counter[Replaceable] = Counter()
    found = find(text, types)
    for _ in range(_ROUNDS):
        if not found:
            break
        parts: list[str] = []
        places = []  # of the placeholders' ends in the new text
        after = length = 0
        for one in found:
            parts += [text[after : one.begin], PLACEHOLDERS[one.type]]
            length += one.begin - after + len(PLACEHOLDERS[one.type])
            places.append(length)
            after = one.end
            counts[one.type] += 1
        text = "".join(parts) + text[after:]
        found = find(text, types) if _may_hold_more(text, places, types) else []
    return text, counts


def _may_hold_more(text: str, places: Sequence[int], types: Collection[PersonalType]) -> bool:
    """Whether something is found in `text` around the places of placeholders; elsewhere nothing has changed."""
    if len(places) * 2 * _AROUND > len(text):
        return True
    return any(find(text[max(0, place - _AROUND) : place + _AROUND], types) for place in places)


def find(text: str, types: Collection[PersonalType] = TYPES) -> list[Found]:
    """What is to be replaced, in order and without overlaps; of two that overlap, the type that `TYPES` has earlier."""
    by_type = [(one, sorted(spans)) for one, spans in _candidates(text, types)]
    if not any(spans for _, spans in by_type):
        return []
    ranked = [(rank, begin, end, one) for rank, (one, spans) in enumerate(by_type) for begin, end in spans]
    taken = bytearray(len(text))
    found = []
    for _, begin, end, one in sorted(ranked):
        if not any(taken[begin:end]):
            taken[begin:end] = b"\1" * (end - begin)
            while text.startswith(OVERLAY, end):
                end += 1
            found.append(Found(begin, end, one))
    return sorted(found, key=lambda one: one.begin)


def _candidates(text: str, types: Collection[PersonalType]) -> Iterator[tuple[PersonalType, list[Span]]]:
    """The spans of each type, in the order of `TYPES`. Text without what a type cannot do without is not searched."""
    latin = text.encode("latin-1", "replace")  # one byte per character, quickly searched
    classes = classes_of(latin) if any(one in types for one in ("iban", "card", "ip", "phone")) else b""
    numbers = stretches(text, classes)
    for one in TYPES:
        if one not in types:
            continue
        if one == "secret":
            yield one, list(secrets(text, latin))
        elif one == "email" and "@" in text:
            yield one, list(emails(text))
        elif one == "user" and ("@" in text or "u/" in text):
            yield one, list(users(text))
        elif one == "iban":
            yield one, list(ibans(text, classes))
        elif one == "card" and numbers:
            yield one, list(cards(text, numbers))
        elif one == "ip":
            yield one, [*ipv4_addresses(text, numbers), *ipv6_addresses(text)]
        elif one == "phone" and numbers:
            yield one, list(phones(text, numbers))
