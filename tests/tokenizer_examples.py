"""Texts, corpora and tokenizers that the tests of tokenizers and tokens share."""

import json
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import tiktoken

from data.shards import CORPUS, ShardWriter, table_of
from data.tokenizers.bpe import train_bpe
from data.tokenizers.characters import character_vocabulary
from data.tokenizers.hf import write_hf
from data.tokenizers.vocabulary import Vocabulary, write_vocabulary

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
SPECIAL = "<|endoftext|>"

TOPICS = [topics[name] for name in sorted(topics)]  # Python's documentation: real prose on every machine

ODD = [
    "",
    " ",
    "\n\n\n",
    f"A text that spells {SPECIAL} twice: {SPECIAL}{SPECIAL}",
    SPECIAL,
    "don't DON'T it'ſ I'LL we'Ve",
    "1234567 12,345.678 ٣٤٥ Ⅻ ½",
    "naïve café – “quotes” … 漢字かな交じり文 ไทย עברית العربية हिन्दी",
    "🙂👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301 \u200b\u200d\ufeff\x00\x1f\x7f",
    "tabs\t\tand   spaces  \n  indented\r\nline \r\n\r\n end  ",
    "=" * 300 + "-" * 299 + "\n" * 70 + " " * 1000 + "x",
    "\u088f\u0c5cx \ua7ce1 \U00016ea0y \U0002b740z",  # letters younger than some Unicode tables, and older ones
    "\U0010ffff\ufffd\ue000",
    "def f(x):\n    return {'a': x**2, \"b\": [1, 2]}  # comment\n",
]


def write_corpus(
    folder: Path, train: Sequence[str], validation: Sequence[str], row_group_bytes: int = 8_000_000
) -> Path:
    """The corpus shards of one slot, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, texts in (("train", train), ("validation", validation)):
        n = len(texts)
        columns: dict[str, list[Any]] = {
            "native_id": [f"{side}/{number}" for number in range(n)],
            "authors": [["Somebody"]] * n,
            "text": list(texts),
            "source": ["example"] * n,
            "url": [None] * n,
            "created": [None] * n,
            "licence": ["CC0-1.0" if side == "train" else "MIT"] * n,
            "meta": [json.dumps({"look": 0})] * n,
            "passage": [0] * n,
            "passages": [1] * n,
        }
        with ShardWriter(folder / f"{side}.parquet", CORPUS, row_group_bytes) as writer:
            writer.write(table_of(CORPUS, columns))
    return folder


def write_tokenizer(folder: Path, vocabulary: Vocabulary) -> Path:
    """All files of a tokenizer, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(vocabulary, folder)
    write_hf(vocabulary, folder)
    return folder


def small_bpe(folder: Path) -> Path:
    """A BPE tokenizer of 1,000 ids."""
    return write_tokenizer(folder, train_bpe(TOPICS[:40], 1000))


def small_characters(folder: Path) -> Path:
    """A character tokenizer that knows few characters beyond ASCII."""
    text = "".join(TOPICS[:5]) + "éü漢🙂"
    return write_tokenizer(folder, character_vocabulary([np.frombuffer(text.encode(), np.uint8)]))


def tiktoken_peer(folder: Path) -> tiktoken.Encoding:
    """tiktoken on the ranks as it reads them itself (once per path: it caches files by their path)."""
    from tiktoken.load import load_tiktoken_bpe

    meta = json.loads((folder / "tokenizer.meta.json").read_text(encoding="utf-8"))
    return tiktoken.Encoding(
        "peer",
        pat_str=meta["pattern"],
        mergeable_ranks=load_tiktoken_bpe(str(folder / "ranks.tiktoken")),
        special_tokens=meta["special"],
    )
