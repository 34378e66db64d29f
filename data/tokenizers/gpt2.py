"""GPT-2's published vocabulary, through tiktoken's loader: from its cache, or downloaded into it."""

import os

from data.tokenizers.config import TokenizerError
from data.tokenizers.vocabulary import Vocabulary


def gpt2_vocabulary() -> Vocabulary:
    """GPT-2's 50,256 ordinary tokens in rank order and its split pattern.

    Raises TokenizerError when the two files are neither in tiktoken's cache nor to be had from the network.
    """
    from tiktoken_ext.openai_public import gpt2  # type: ignore[import-untyped]  # loads nothing before it is called

    try:
        definition = gpt2()
    except Exception as error:  # whatever the network layer raises, the remedy is the same
        cache = os.environ.get("TIKTOKEN_CACHE_DIR")
        where = f"TIKTOKEN_CACHE_DIR is {cache}" if cache else "TIKTOKEN_CACHE_DIR is not set"
        raise TokenizerError(
            f"GPT-2's vocabulary is not in tiktoken's cache ({where}) and could not be downloaded "
            f"({type(error).__name__}). Go online once, or set TIKTOKEN_CACHE_DIR to a writable folder that holds "
            "tiktoken's files for gpt2."
        ) from error
    by_rank = sorted(definition["mergeable_ranks"].items(), key=lambda item: item[1])
    return Vocabulary("gpt2", definition["pat_str"], tuple(token for token, _ in by_rank))
