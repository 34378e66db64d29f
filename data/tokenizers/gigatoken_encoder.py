"""Gigatoken: the reference's ids many times faster, trusted only as far as it is checked.

- Every tokenizer is compared with the reference on the whole validation text when it is made; what came of it stands
  in the tokenizer's `observed/` folder, since it depends on the machine, and a difference keeps gigatoken out.
- It gets a `tokenizer.json` without the special token, since it would take those characters in a text for the id.
- The bytes behind all ids of a batch must add up to the batch's own.
- About 0.3% of each batch, spread over it, is compared id for id with the reference.
- Its Unicode tables are newer than tiktoken's, so that rows with characters which Python's own, older tables do not
  know (and which therefore may be letters to one and nothing to the other) are left to the reference.
"""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.tokenizers.bulk import Encoded, joined, utf8_of
from data.tokenizers.characters import CODE_POINTS
from data.tokenizers.load import Tokenizer
from data.tokenizers.vocabulary import HF_FILE

CHECKED_SHARE = 0.003  # of the text of each batch
CHECKED_BYTES = 16_384  # of one row, at most
OBSERVED_FILE = "observed/gigatoken.json"


class GigatokenDiffersError(Exception):
    """Gigatoken is missing or does not give the reference's ids; the message completes "Gigatoken ..."."""


class GigatokenEncoder:
    """Gigatoken, checked against the reference. Raises GigatokenDiffersError when it cannot be used."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        try:
            import awkward  # type: ignore[import-untyped]
            import gigatoken
        except ImportError as error:
            raise GigatokenDiffersError(f"is not installed here ({error})") from error
        form = json.loads((folder / HF_FILE).read_text(encoding="utf-8"))
        form["added_tokens"] = []
        self._awkward = awkward
        self._reference = tokenizer
        lengths = tokenizer.vocabulary.token_bytes()
        self._token_bytes = lengths.astype(np.min_scalar_type(lengths.max()))  # small, for the processor's cache
        self._suspect = _pairs_with_unknown_characters()
        self._judged = np.zeros(CODE_POINTS, np.bool_)
        self._unknown = np.zeros(CODE_POINTS, np.bool_)
        try:
            self._gigatoken = gigatoken.Tokenizer.from_json(json.dumps(form, ensure_ascii=False))
        except Exception as error:
            raise GigatokenDiffersError(f"does not load this tokenizer ({error})") from error

    def encode(self, texts: pa.StringArray) -> Encoded:
        utf8, bounds = utf8_of(texts)
        encoded = self._encode(utf8, bounds)
        try:
            spelled = int(self._token_bytes[encoded.ids].sum(dtype=np.int64))
        except IndexError as error:
            raise GigatokenDiffersError(f"gave an id that the tokenizer does not have ({error})") from error
        if spelled != len(utf8):  # a special id counts as no bytes
            raise GigatokenDiffersError(f"gave ids of {spelled} bytes for a text of {len(utf8)}")
        left = self._rows_with_unknown_characters(utf8, bounds)
        if len(left):
            encoded = self._replace(encoded, left, texts)
        self._check(encoded, utf8, bounds)
        return encoded

    def _encode(self, utf8: NDArray[np.uint8], bounds: NDArray[np.int64]) -> Encoded:
        contents, index = self._awkward.contents, self._awkward.index
        content = contents.NumpyArray(utf8, parameters={"__array__": "char"})
        rows = contents.ListOffsetArray(index.Index64(bounds), content, parameters={"__array__": "string"})
        try:
            layout = self._gigatoken.encode_batch(self._awkward.Array(rows), parallel=False).layout
        except BaseException as error:
            if type(error).__name__ != "PanicException" and not isinstance(error, Exception):
                raise  # an interruption; a panic in Rust is no Exception either
            raise GigatokenDiffersError(f"failed ({error})") from error
        offsets = np.asarray(layout.offsets.data, np.int64)
        if len(offsets) != len(bounds):
            raise GigatokenDiffersError(f"gave {len(offsets) - 1} rows for {len(bounds) - 1}")
        return Encoded(np.asarray(layout.content.data)[offsets[0] : offsets[-1]], offsets - offsets[0])

    def _rows_with_unknown_characters(self, utf8: NDArray[np.uint8], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows that hold a character without a place in Python's Unicode tables, (rows,) int64.

        Only code points from U+0800 are looked at: below, nothing that is free can become a letter or number anymore
        without all of these tables agreeing on it.
        """
        at = np.flatnonzero(utf8 >= 0xE0)
        lead, second = (utf8[at + byte].astype(np.int32) for byte in range(2))
        suspect = self._suspect[(lead << 8) | second]
        if not suspect.any():
            return np.empty(0, np.int64)
        at, lead, second = at[suspect], lead[suspect], second[suspect]
        codes = ((lead & 0x0F) << 12) | ((second & 0x3F) << 6) | (utf8[at + 2] & 0x3F)
        four = lead >= 0xF0
        codes[four] = ((codes[four] & 0x7FFF) << 6) | (utf8[at[four] + 3] & 0x3F)
        new = np.zeros(CODE_POINTS, np.bool_)
        new[codes] = True
        for code in np.flatnonzero(new & ~self._judged).tolist():
            self._unknown[code] = unicodedata.category(chr(code)) == "Cn"
            self._judged[code] = True
        return np.unique(np.searchsorted(bounds, at[self._unknown[codes]], side="right") - 1)

    def _replace(self, encoded: Encoded, rows: NDArray[np.int64], texts: pa.StringArray) -> Encoded:
        """`encoded` with the given rows encoded by the reference."""
        parts = [encoded.ids[a:b] for a, b in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)]
        for row in rows.tolist():
            parts[row] = np.array(self._reference.encode_ordinary(texts[row].as_py()), np.uint32)
        return joined(parts)

    def _check(self, encoded: Encoded, utf8: NDArray[np.uint8], bounds: NDArray[np.int64]) -> None:
        """Compare rows at regular distances, long ones up to a place that ends a token whatever follows."""
        rows = len(bounds) - 1
        mean = min(CHECKED_BYTES, max(1, len(utf8) // max(1, rows)))
        count = min(rows, 1 + int(CHECKED_SHARE * len(utf8) / mean))
        for row in np.unique(np.linspace(0, rows - 1, count).astype(np.int64)) if rows else ():
            begin, end = int(bounds[row]), int(bounds[row + 1])
            text = utf8[begin : min(end, begin + CHECKED_BYTES)].tobytes().decode(errors="ignore")
            if end - begin > CHECKED_BYTES:
                text = text[: _word_end(text)]
            wanted = self._reference.encode_ordinary(text)
            first = int(encoded.offsets[row])
            last = first + len(wanted) if end - begin > CHECKED_BYTES else int(encoded.offsets[row + 1])
            found = encoded.ids[first:last].tolist()
            if found != wanted:
                raise GigatokenDiffersError(f"gave other ids than tiktoken for a text that begins {text[:60]!r}")


def _pairs_with_unknown_characters() -> NDArray[np.bool_]:
    """Which first two bytes of a character may begin one that Python's Unicode tables lack, (65536,) by both bytes.

    Of characters of four bytes all may: there are too many to look at in advance.
    """
    suspect = np.zeros(2**16, np.bool_)
    for first in range(0x800, 0x10000, 64):  # 64 characters share two bytes of three
        pair = (0xE0 | first >> 12) << 8 | 0x80 | first >> 6 & 0x3F
        suspect[pair] = any(unicodedata.category(chr(code)) == "Cn" for code in range(first, first + 64))
    suspect[0xF000:] = True
    return suspect


def _word_end(text: str) -> int:
    """Where the last word of `text` ends that a space follows; both split patterns always split there."""
    at = text.rfind(" ")
    while at > 0 and not text[at - 1].isalpha():
        at = text.rfind(" ", 0, at)
    return max(at, 0)


def note_difference(folder: Path, difference: str | None) -> None:
    """Note for later stages on this machine how gigatoken differs from the reference; None says it does not."""
    path = folder / OBSERVED_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"difference": difference}) + "\n", encoding="utf-8")


def known_difference(folder: Path) -> str | None:
    """How gigatoken is known to differ from the reference with this tokenizer; None where nothing is known."""
    try:
        difference = json.loads((folder / OBSERVED_FILE).read_text(encoding="utf-8"))["difference"]
    except FileNotFoundError:
        return None
    return None if difference is None else str(difference)
