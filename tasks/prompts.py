"""Prompts as ids. In those of a model that fills gaps, `[MASK]` stands for one hidden token and `[MASK*5]` for five.

Tokens often hold the space before a word, so a mark for a word follows the word before it without one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import TextmillError
from data.tokenizers.load import Tokenizer

MARK = re.compile(r"\[MASK(?:\*([1-9][0-9]{0,5}))?\]")


def prompt_ids(tokenizer: Tokenizer, prompts: Sequence[str], masked: bool = False) -> list[list[int]]:
    """Ids of each prompt, which begins a document: `<|endoftext|>` first.

    `masked`: the model fills gaps, whose id is one above the tokenizer's. Raises TextmillError for gaps without that.
    """
    return [[tokenizer.eot_id, *_ids(tokenizer, prompt, masked)] for prompt in prompts]


def _ids(tokenizer: Tokenizer, prompt: str, masked: bool) -> list[int]:
    refuse_marks(prompt, masked)
    ids, begin = [], 0
    for mark in MARK.finditer(prompt):
        ids += [int(i) for i in tokenizer.encode_ordinary(prompt[begin : mark.start()])]
        ids += [tokenizer.vocab_size] * int(mark[1] or 1)
        begin = mark.end()
    return ids + [int(i) for i in tokenizer.encode_ordinary(prompt[begin:])]


def refuse_marks(prompt: str, masked: bool) -> None:
    """Raise TextmillError if the prompt has gaps and the model is not `masked`."""
    mark = MARK.search(prompt)
    if mark and not masked:
        raise TextmillError(
            f"The prompt {prompt[:60]!r} holds {mark[0]}, but a causal model only goes on from its end: "
            f"leave the mark out, or train with model.objective=masked."
        )


def written(prompt: str, text: str) -> str:
    """Prompt and what a model made of it as one text: a prompt with gaps is filled in, any other gone on from."""
    return text if MARK.search(prompt) else prompt + text


def is_masked(model: Mapping[str, Any]) -> bool:
    """Whether the resolved config of a model, as its manifest has it, is one of a model that fills gaps."""
    return model.get("objective") == "masked"
