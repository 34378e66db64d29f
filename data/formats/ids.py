"""Ids that rows bring with them, made unique: who wrote them may have used one twice, or one that looks like a number.

The first row with an id has it; what a later one gets depends on earlier rows only, so it stays while rows are added.
"""

import xxhash

_MAX_IDS = 2_000_000  # ids that are kept to notice repetitions, in some 150 MB; those after them are taken as they are


class UniqueIds:
    """The ids of one file, or of one slot, in the order of its rows."""

    def __init__(self) -> None:
        self._marks: set[int] = set()

    def unique(self, wanted: str, place: object) -> str:
        """`wanted`, if no row before has it, else `wanted;place`; `place` is what tells this row from all others."""
        while (mark := xxhash.xxh3_64_intdigest(wanted.encode("utf-8", "surrogatepass"))) in self._marks:
            wanted = f"{wanted};{place}"
        if len(self._marks) < _MAX_IDS:
            self._marks.add(mark)
        return wanted
