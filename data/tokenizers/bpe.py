"""Training byte-level BPE with GPT-4's split pattern. Knows texts and tokens; knows no files.

The result depends on the texts alone, not on threads: pairs are ranked by their count and, where counts are equal,
by the ids of their halves.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from data.tokenizers.config import TokenizerError
from data.tokenizers.hf import byte_letters
from data.tokenizers.vocabulary import GPT4_PATTERN, Vocabulary

LEAST_COUNT = 2  # a pair that occurs once makes no token


class VocabularyTooLargeError(TokenizerError):
    """More ids were asked for than the text has recurring pairs to make them from."""


def train_bpe(texts: Iterable[str], vocab_size: int, or_fewer: bool = False) -> Vocabulary:
    """Learn `vocab_size` ids: 256 bytes, then merges in the order learned, then `<|endoftext|>` outside of them.

    Where the texts do not support that many, `or_fewer` takes what they support; otherwise VocabularyTooLargeError is
    raised, with both numbers.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(GPT4_PATTERN), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=LEAST_COUNT,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = tokenizer.get_vocab_size() + 1
    if learned < vocab_size and not or_fewer:
        raise VocabularyTooLargeError(
            f"tokenizer.vocab_size is {vocab_size:,}, but the training text supports {learned:,} ids at most: no pair "
            f"of tokens occurs twice after that. Set tokenizer.vocab_size to {learned} or less, or add text."
        )
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return Vocabulary("bpe", GPT4_PATTERN, tuple(bytes(byte_of[letter] for letter in name) for name, _ in by_id))
