"""The tokenizer as the rest of the house uses it: text to ids and back. Encoding whole shards is data/tokens.py's."""

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import tiktoken

from data.tokenizers.characters import CharacterTable
from data.tokenizers.config import TokenizerError
from data.tokenizers.hf import plain_encoder
from data.tokenizers.vocabulary import END_OF_TEXT, Vocabulary, read_vocabulary

LONGEST_BLANK = 500_000  # white-space characters in a row that tiktoken's regular expressions surely take


class Tokenizer:
    """Encodes and decodes with one vocabulary. Safe to share between threads.

    Text never becomes a special id: the characters `<|endoftext|>` are encoded like any others.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.vocab_size = vocabulary.size
        """All ids, `<|endoftext|>` included."""
        self.eot_id = vocabulary.eot_id
        self._decoder = (*vocabulary.tokens, END_OF_TEXT.encode())
        self._table = CharacterTable(vocabulary) if vocabulary.kind == "characters" else None
        self._encoding = None if vocabulary.kind == "characters" else tiktoken_encoding(vocabulary)

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text; raises TokenizerError for lone surrogates, which are no text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        """Ids of each text, as `encode_ordinary` gives them."""
        utf8 = [_utf8(text) for text in texts]
        if self._encoding is not None:
            if any(map(overtaxes_tiktoken, texts)):
                return [encoding.ids for encoding in plain_encoder(self.vocabulary).encode_batch_fast(list(texts))]
            if len(texts) == 1 or threads == 1:
                return [self._encoding.encode_ordinary(text) for text in texts]
            return self._encoding.encode_ordinary_batch(list(texts), num_threads=threads)
        assert self._table is not None
        offsets = np.cumsum([0, *map(len, utf8)], dtype=np.int64)
        ids, bounds = self._table.encode(np.frombuffer(b"".join(utf8), np.uint8), offsets)
        return [ids[begin:end].tolist() for begin, end in pairwise(bounds)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes behind `ids`, `<|endoftext|>` spelled out; raises TokenizerError for an id that is none."""
        return b"".join(map(self._bytes_of, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text behind `ids`; bytes that are no UTF-8 come out as U+FFFD."""
        return self.decode_bytes(ids).decode(errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text behind `ids` while they come: pieces are never empty and end at whole characters.

        Joined they are what `decode` gives for all ids at once.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for number in ids:
            if piece := decoder.decode(self._bytes_of(number)):
                yield piece
        if piece := decoder.decode(b"", final=True):
            yield piece

    def _bytes_of(self, number: int) -> bytes:
        if not 0 <= number < self.vocab_size:
            raise TokenizerError(
                f"Cannot decode id {number}: the tokenizer's ids are 0 to {self.vocab_size - 1}. Use the tokenizer "
                "that the ids were made with."
            )
        return self._decoder[number]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`; raises TokenizerError when it is none or is damaged."""
    return Tokenizer(read_vocabulary(folder))


def overtaxes_tiktoken(text: str) -> bool:
    """Whether tiktoken would give up on `text`, which it does above a million white-space characters in a row."""
    return len(text) > LONGEST_BLANK and any(
        blank.end() - blank.start() > LONGEST_BLANK for blank in re.finditer(r"\s+", text)
    )


def tiktoken_encoding(vocabulary: Vocabulary) -> tiktoken.Encoding:
    """tiktoken's own object for the vocabulary's ranks."""
    return tiktoken.Encoding(
        f"textmill-{vocabulary.kind}",
        pat_str=vocabulary.pattern,
        mergeable_ranks=vocabulary.ranks(),
        special_tokens={END_OF_TEXT: vocabulary.eot_id},
    )


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"Cannot encode the text: character {error.start} is the lone surrogate U+{ord(text[error.start]):04X}, "
            "which is no text. Remove it, or decode the text with the right encoding."
        ) from None
