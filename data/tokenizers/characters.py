"""One id per character, in bulk: the alphabet of a text, and from UTF-8 bytes to ids without a loop over characters.

Ids 0 to 255 are the single bytes, so an ASCII character's id is its code. Then comes every other character of the
training text by code point. A character that was not in it is spelled as its UTF-8 bytes, all of them 128 or more:
nothing is lost, and no ASCII character shares those ids. HF tokenizers call that byte fallback. tiktoken does the
same with a pattern that takes one character at a time, since no part of a character's bytes is a character.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data.tokenizers.vocabulary import Vocabulary

ONE_CHARACTER = r"[\s\S]"
CODE_POINTS = 0x110000


def character_vocabulary(utf8: Iterable[NDArray[np.uint8]]) -> Vocabulary:
    """The vocabulary of all characters in `utf8`, arrays that each hold whole texts."""
    seen = np.zeros(CODE_POINTS, np.bool_)
    for part in utf8:
        seen[code_points(part)] = True
    others = (chr(code).encode() for code in (np.flatnonzero(seen[128:]) + 128).tolist())
    return Vocabulary("characters", ONE_CHARACTER, (*(bytes([byte]) for byte in range(256)), *others))


def code_points(utf8: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The code points of valid UTF-8, (characters,) uint32."""
    return np.frombuffer(utf8.tobytes().decode().encode("utf-32-le"), np.uint32)


class CharacterTable:
    """From UTF-8 to the ids of a `characters` vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = np.full(CODE_POINTS, -1, np.int32)
        self._ids[:128] = np.arange(128)
        for rank, token in enumerate(vocabulary.tokens[256:], start=256):
            self._ids[ord(token.decode())] = rank

    def encode(
        self, utf8: NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of many texts at once.

        utf8     (bytes,) uint8, the texts one after the other
        offsets  (texts + 1,) int64, text i lies in bytes [offsets[i], offsets[i + 1]); the first is 0
        returns  ids (n,) int32 and their offsets (texts + 1,) int64
        """
        codes = code_points(utf8)
        ids = self._ids[codes]
        begins = (utf8 & 0xC0) != 0x80  # bytes at which a character begins
        first = np.append(0, np.cumsum(begins))[offsets]  # characters before each text
        unseen = np.flatnonzero(ids < 0)
        if len(unseen) == 0:
            return ids, first
        widths = np.ones(len(ids), np.int64)
        widths[unseen] = 2 + (codes[unseen] >= 0x800).astype(np.int64) + (codes[unseen] >= 0x10000)
        places = np.append(0, np.cumsum(widths))
        spelled = np.empty(places[-1], np.int32)
        spelled[places[:-1]] = ids
        at = np.flatnonzero(begins)[unseen]
        for byte in range(4):
            wide = widths[unseen] > byte
            spelled[places[unseen[wide]] + byte] = utf8[at[wide] + byte]
        return spelled, places[first]
