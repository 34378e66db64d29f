"""How ids of documents tell in which item they lie."""

import re
from collections.abc import Collection, Iterator

_SEPARATORS = re.compile(r"[#/@;~]")  # between an item's id and the rest of its documents' ids


def beginnings(native_id: str) -> Iterator[str]:
    """The ids that an item may have in which a document of this id lies, longest first."""
    yield native_id
    for separator in reversed(list(_SEPARATORS.finditer(native_id))):
        yield native_id[: separator.start()]


def is_in(native_id: str, items: Collection[str]) -> bool:
    """Whether a document lies in one of the items, as far as its id tells."""
    return bool(items) and any(one in items for one in beginnings(native_id))


def holding(native_id: str, items: Collection[str]) -> list[str]:
    """The items that hold a document: the one whose id its own begins with; else those that share its first part, such
    as the months of a channel; else all."""
    for one in beginnings(native_id):
        if one in items:
            return [one]
    first = native_id.partition("/")[0]
    return sorted(one for one in items if one.partition("/")[0] == first) or sorted(items)
