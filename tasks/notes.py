"""Notes told while a run works: the first few of many, so that no log grows with a corpus. Knows nothing of Prefect."""

from collections.abc import Callable, Sequence

SHOWN_NOTES = 20  # of one source or part that are told one by one


def tell_notes(tell: Callable[[str], None], notes: Sequence[str], rest: str) -> None:
    """Tell the first of several notes, and how many there are beyond them; `rest` says where all of them stand."""
    for note in notes[:SHOWN_NOTES]:
        tell(note)
    if (more := len(notes) - SHOWN_NOTES) > 0:
        tell(f"and {more:,} more: {rest}")
