"""A vocabulary: the bytes behind every id, and the files in which it is kept.

The ranks are the definition: ordinary tokens in id order, where a lower id is merged earlier. `<|endoftext|>` stands
outside of the merges and has the id after the last ordinary one. Everything else in the folder follows from that,
and `tokenizer.json` is written by data/tokenizers/hf.py. How text is split and merged is not known here.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.tokenizers.config import TokenizerError

END_OF_TEXT = "<|endoftext|>"
RANKS_FILE = "ranks.tiktoken"
HF_FILE = "tokenizer.json"
LISTING_FILE = "vocabulary.txt"
BYTES_FILE = "token_bytes.npy"
META_FILE = "tokenizer.meta.json"

# GPT-4's split pattern as first published; it needs no possessive quantifiers, which regex engines read differently.
GPT4_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

Kind = Literal["bpe", "characters", "gpt2"]


@dataclass(frozen=True)
class Vocabulary:
    """kind     how text becomes ids
    pattern  regular expression whose matches are encoded one by one
    tokens   bytes of each ordinary id, without repeats; all 256 single bytes are among them
    """

    kind: Kind
    pattern: str
    tokens: tuple[bytes, ...]

    @property
    def eot_id(self) -> int:
        """Id of `<|endoftext|>`: one more than the last ordinary id."""
        return len(self.tokens)

    @property
    def size(self) -> int:
        """All ids, `<|endoftext|>` included."""
        return len(self.tokens) + 1

    def ranks(self) -> dict[bytes, int]:
        """Id of each ordinary token, as tiktoken takes it."""
        return {token: rank for rank, token in enumerate(self.tokens)}

    def token_bytes(self) -> NDArray[np.int32]:
        """UTF-8 bytes of text that each id stands for, (size,) int32; 0 for `<|endoftext|>`."""
        return np.array([*map(len, self.tokens), 0], np.int32)


def write_vocabulary(vocabulary: Vocabulary, out: Path) -> None:
    """Write ranks, listing, byte lengths and meta data into the folder `out`."""
    ranks = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(vocabulary.tokens))
    (out / RANKS_FILE).write_bytes(ranks)
    np.save(out / BYTES_FILE, vocabulary.token_bytes())
    (out / LISTING_FILE).write_text(_listing(vocabulary), encoding="utf-8")
    meta = {
        "kind": vocabulary.kind,
        "vocab_size": vocabulary.size,
        "pattern": vocabulary.pattern,
        "eot_id": vocabulary.eot_id,
        "special": {END_OF_TEXT: vocabulary.eot_id},
    }
    text = json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (out / META_FILE).write_text(text, encoding="utf-8")


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary in `folder`; raises TokenizerError naming the file that is missing or wrong."""
    try:
        meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        kind, pattern, eot_id = meta["kind"], meta["pattern"], meta["eot_id"]
        lines = (folder / RANKS_FILE).read_bytes().splitlines()
    except FileNotFoundError as error:
        raise TokenizerError(f"{folder} holds no tokenizer: {Path(error.filename).name} is missing.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder / META_FILE, f"{type(error).__name__}, {error}") from error
    tokens = []
    for number, line in enumerate(lines):
        token, _, rank = line.partition(b" ")
        try:
            tokens.append(base64.b64decode(token, validate=True))
        except binascii.Error as error:
            raise _damaged(folder / RANKS_FILE, f"line {number + 1} is {line[:40]!r}") from error
        if rank != b"%d" % number:
            message = f"line {number + 1} has rank {rank[:40].decode(errors='replace')!r}, but {number} comes there"
            raise _damaged(folder / RANKS_FILE, message)
    if len(tokens) != eot_id or len(set(tokens)) != eot_id:
        message = f"it holds {len(set(tokens))} different tokens, but {META_FILE} says {eot_id}"
        raise _damaged(folder / RANKS_FILE, message)
    return Vocabulary(kind, pattern, tuple(tokens))


def _damaged(path: Path, what: str) -> TokenizerError:
    return TokenizerError(f"{path} is damaged: {what}. Delete its artifact and run again: it will be rebuilt.")


def _listing(vocabulary: Vocabulary) -> str:
    """One line per id: the id, its bytes, and its text, quoted; what is no text of its own is shown as bytes."""
    lines = [f"# id, bytes, token ({vocabulary.kind}, {vocabulary.size} ids)"]
    for rank, token in enumerate(vocabulary.tokens):
        try:
            shown = repr(token.decode())
        except UnicodeDecodeError:
            shown = repr(token)
        lines.append(f"{rank:>6}  {len(token):>3}  {shown}")
    lines.append(f"{vocabulary.eot_id:>6}  {0:>3}  {END_OF_TEXT} (special)")
    return "\n".join(lines) + "\n"
