"""Before a tokenizer is published: three ways to use its files must give the same ids, and the ids the same text.

The ways are our own loader, HF tokenizers from `tokenizer.json`, and tiktoken from `ranks.tiktoken`. A difference is an
error, since it would show up as a model that knows another language than the one its users type.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.shards import read_batches
from data.tokenizers.bulk import ReferenceEncoder
from data.tokenizers.config import TokenizerError
from data.tokenizers.gigatoken_encoder import GigatokenDiffersError, GigatokenEncoder
from data.tokenizers.hf import plain_encoder
from data.tokenizers.load import Tokenizer, load_tokenizer, overtaxes_tiktoken, tiktoken_encoding
from data.tokenizers.vocabulary import read_vocabulary

BATCH_TEXTS = 256
BATCH_BYTES = 1_000_000  # characters, to be exact


class TokenizersDifferError(TokenizerError):
    """Two ways to use the same tokenizer give different ids."""


@dataclass(frozen=True)
class Checked:
    """How much text was found to be encoded alike."""

    texts: int = 0
    bytes: int = 0
    tokens: int = 0


def check_identical(folder: Path, texts: Iterable[str]) -> Checked:
    """Encode `texts` in all three ways; raises TokenizersDifferError naming the first difference.

    Texts that tiktoken gives up on are compared without it.
    """
    ours = load_tokenizer(folder)
    hf = plain_encoder(folder)
    direct = tiktoken_encoding(read_vocabulary(folder))
    checked = Checked()
    for batch in _batches(texts):
        wanted = ours.encode_batch(batch)
        for text, mine, encoding in zip(batch, wanted, hf.encode_batch_fast(batch), strict=True):
            if mine != encoding.ids:
                raise _difference(ours, "HF tokenizers", text, mine, encoding.ids)
        for text, mine in zip(batch, wanted, strict=True):
            if not overtaxes_tiktoken(text) and mine != (theirs := direct.encode_ordinary(text)):
                raise _difference(ours, "tiktoken", text, mine, theirs)
            if ours.decode_bytes(mine) != text.encode():
                raise TokenizersDifferError(f"A text that begins {text[:60]!r} is not decoded to itself.")
        checked = Checked(
            checked.texts + len(batch),
            checked.bytes + sum(len(text.encode()) for text in batch),
            checked.tokens + sum(map(len, wanted)),
        )
    return checked


def gigatoken_difference(folder: Path, shards: Iterable[Path]) -> str | None:
    """How gigatoken differs from the reference on the texts of `shards`, after "Gigatoken ..."; None: not at all."""
    tokenizer = load_tokenizer(folder)
    reference = ReferenceEncoder(tokenizer)
    try:
        fast = GigatokenEncoder(folder, tokenizer)
        for path in shards:
            for batch in read_batches(path, ["text"]):
                (ids, offsets), (wanted, starts) = fast.encode(batch["text"]), reference.encode(batch["text"])
                if not np.array_equal(offsets, starts) or not np.array_equal(ids, wanted):
                    return f"gave other ids than tiktoken for {path.name}"
    except GigatokenDiffersError as difference:
        return str(difference)
    return None


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if len(batch) == BATCH_TEXTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _difference(ours: Tokenizer, name: str, text: str, mine: list[int], theirs: list[int]) -> TokenizersDifferError:
    shorter = min(len(mine), len(theirs))
    at = next((i for i in range(shorter) if mine[i] != theirs[i]), shorter)
    begin = len(ours.decode(mine[:at]))
    excerpt = text[max(0, begin - 20) : begin + 20]
    left, right = (str(ids[at]) if at < len(ids) else "nothing" for ids in (mine, theirs))
    return TokenizersDifferError(
        f"Our loader and {name} encode a text differently: at token {at}, character {begin}, near {excerpt!r}, the id "
        f"is {left} here and {right} there. Remove that text, or use another kind of tokenizer."
    )
