"""Texts with planted near copies, true similarities by brute force, and slots of band tables on disk."""

import random
import re

from data.near.bands import write_bands
from data.near.config import NearConfig
from data.near.signatures import near_signatures

VOCABULARY = [f"w{number}" for number in range(5000)]


def words(count: int, rng: random.Random) -> list[str]:
    return rng.choices(VOCABULARY, k=count)


def edited(text: list[str], edits: int, rng: random.Random) -> list[str]:
    """The words with so many of them replaced, removed or preceded by a new one."""
    text = list(text)
    for _ in range(edits):
        at = rng.randrange(len(text))
        removed, added = rng.choice([(0, 1), (1, 0), (1, 1)])
        text[at : at + removed] = rng.choices(VOCABULARY, k=added)
    return text


def runs(text: str, size: int) -> set[tuple[str, ...]]:
    """Runs of words of an ASCII text as a set."""
    found = re.findall("[0-9a-z]+", text.lower())
    return {tuple(found[at : at + size]) for at in range(max(1, len(found) - size + 1))} if found else set()


def jaccard(left: str, right: str, size: int = 5) -> float:
    """By counting."""
    ours, theirs = runs(left, size), runs(right, size)
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 0.0


def write_slots(folder, slots, config=None):
    """A folder with a band table for each slot, which is a list of texts."""
    config = config or NearConfig()
    folders = []
    for number, texts in enumerate(slots):
        out = folder / str(number)
        out.mkdir(parents=True, exist_ok=True)
        write_bands(near_signatures(texts, config), config, out)
        folders.append(out)
    return folders
