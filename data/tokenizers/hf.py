"""`tokenizer.json`: the same vocabulary in the form that HF tokenizers loads.

Merges are derived from the ranks, so that both forms mean the same: a token can be merged from any two tokens that
make it up, the lowest resulting id first. tiktoken works that way by itself.

The file lists `<|endoftext|>` as a special token, as its users expect, and then HF tokenizers turn those characters
into the special id wherever they stand in a text. Whoever encodes documents uses `plain_encoder` instead.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data.tokenizers.vocabulary import END_OF_TEXT, HF_FILE, Vocabulary


def write_hf(vocabulary: Vocabulary, out: Path) -> None:
    """Write `tokenizer.json` into the folder `out`."""
    text = json.dumps(hf_form(vocabulary), ensure_ascii=False, separators=(",", ":"))
    (out / HF_FILE).write_text(text + "\n", encoding="utf-8")


def plain_encoder(source: Path | Vocabulary) -> Tokenizer:
    """HF's tokenizer of a folder or vocabulary, set to encode the characters `<|endoftext|>` as plain text."""
    if isinstance(source, Path):
        tokenizer = Tokenizer.from_file(str(source / HF_FILE))
    else:
        tokenizer = Tokenizer.from_str(json.dumps(hf_form(source)))
    tokenizer.encode_special_tokens = True
    return tokenizer


def hf_form(vocabulary: Vocabulary) -> dict[str, Any]:
    """What `tokenizer.json` holds."""
    special = {
        "id": vocabulary.eot_id,
        "content": END_OF_TEXT,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    parts = _characters(vocabulary) if vocabulary.kind == "characters" else _byte_level(vocabulary)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special],
        "normalizer": None,
        "post_processor": None,
        **parts,
    }


def byte_letters() -> list[str]:
    """The visible character that stands for each byte in HF's and GPT-2's files, by byte."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    code = {byte: byte for byte in visible} | {byte: 256 + number for number, byte in enumerate(others)}
    return [chr(code[byte]) for byte in range(256)]


def _byte_level(vocabulary: Vocabulary) -> dict[str, Any]:
    letters = byte_letters()
    spell = {token: "".join(letters[byte] for byte in token) for token in vocabulary.tokens}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    if vocabulary.kind == "gpt2":
        pre_tokenizer = byte_level | {"use_regex": True}  # its built-in pattern is GPT-2's
    else:
        split = {"type": "Split", "pattern": {"Regex": vocabulary.pattern}, "behavior": "Isolated", "invert": False}
        pre_tokenizer = {"type": "Sequence", "pretokenizers": [split, byte_level | {"use_regex": False}]}
    return {
        "pre_tokenizer": pre_tokenizer,
        "decoder": byte_level | {"add_prefix_space": True, "use_regex": True},
        "model": _model(
            {spell[token]: rank for rank, token in enumerate(vocabulary.tokens)},
            [(spell[left], spell[right]) for left, right in _merges(vocabulary)],
            byte_fallback=False,
        ),
    }


def _characters(vocabulary: Vocabulary) -> dict[str, Any]:
    names = [
        f"<0x{token[0]:02X}>" if len(token) == 1 and token[0] >= 0x80 else token.decode() for token in vocabulary.tokens
    ]
    return {
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": _model({name: rank for rank, name in enumerate(names)}, [], byte_fallback=True),
    }


def _model(vocab: dict[str, int], merges: list[tuple[str, str]], *, byte_fallback: bool) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": byte_fallback,
        "ignore_merges": not byte_fallback,  # a piece that is a token is taken whole, as tiktoken does
        "vocab": vocab,
        "merges": merges,
    }


def _merges(vocabulary: Vocabulary) -> list[tuple[bytes, bytes]]:
    """Every pair of tokens that makes up a token, by the id of the result."""
    ranks = vocabulary.ranks()
    return [
        (token[:cut], token[cut:])
        for token in vocabulary.tokens
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    ]
