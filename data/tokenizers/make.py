"""The tokenizer stage: training shards in, a folder with a tokenizer out, checked before anybody sees it.

Only training text makes the tokenizer; validation text is used to check it and to report how well it compresses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.facts import Facts, Progress, no_progress
from data.shards import read_batches, read_texts, text_buffer
from data.tokenizers.bpe import train_bpe
from data.tokenizers.characters import character_vocabulary
from data.tokenizers.check import check_identical, gigatoken_difference
from data.tokenizers.config import TokenizerConfig, TokenizerError, resolve_vocab_size
from data.tokenizers.gigatoken_encoder import note_difference
from data.tokenizers.gpt2 import gpt2_vocabulary
from data.tokenizers.hf import write_hf
from data.tokenizers.load import load_tokenizer
from data.tokenizers.sample import draw_sample, plan_sample
from data.tokenizers.vocabulary import END_OF_TEXT, Vocabulary, write_vocabulary

MEASURED_BYTES = 2_000_000  # of training text, to report bytes per token


def make_tokenizer(
    train_paths_by_source: Mapping[str, Sequence[Path]],
    validation_paths: Sequence[Path],
    config: TokenizerConfig,
    out: Path,
    progress: Progress = no_progress,
) -> Facts:
    """Make the tokenizer that `config` describes and write its files into the empty folder `out`.

    Raises TokenizerError when the text does not support the vocabulary, when a weight names no source, when GPT-2's
    files are not to be had, and when two ways to use the files would give different ids on the validation text.
    """
    facts = Facts()
    vocabulary = _vocabulary(train_paths_by_source, config, facts, progress)
    write_vocabulary(vocabulary, out)
    write_hf(vocabulary, out)

    spelled = f"A text may spell {END_OF_TEXT} without ending there."
    check_identical(out, [spelled])
    checked = check_identical(out, (text for path in validation_paths for texts in read_texts(path) for text in texts))
    if vocabulary.kind != "characters":
        difference = gigatoken_difference(out, validation_paths)
        note_difference(out, difference)
        if difference is not None:
            facts.notes.append(f"Text will be encoded with tiktoken, which is slower: gigatoken {difference}.")
    measured_bytes, measured_tokens = _measure(train_paths_by_source, out)
    facts.counts |= {
        "vocab_size": vocabulary.size,
        "validation_bytes": checked.bytes,
        "validation_tokens": checked.tokens,
    }
    facts.details["bytes_per_token"] = {
        "train": _ratio(measured_bytes, measured_tokens),
        "validation": _ratio(checked.bytes, checked.tokens),
    }
    return facts


def _vocabulary(
    shards: Mapping[str, Sequence[Path]], config: TokenizerConfig, facts: Facts, progress: Progress
) -> Vocabulary:
    if config.kind == "gpt2":
        return gpt2_vocabulary()
    if config.kind == "artifact":
        raise TokenizerError(f"The tokenizer {config.artifact} is made already: use it from the store.")
    weights = config.sample_weights if config.kind == "bpe" else {}
    plan = plan_sample(shards, weights, config.sample_bytes)
    if config.kind == "characters":
        facts.counts["sample_bytes"] = plan.total
        return character_vocabulary(_utf8(shards, plan.total, progress))
    facts.details["sample_shares"] = plan.shares
    facts.counts["sample_bytes"] = 0
    size = config.vocab_size or resolve_vocab_size(plan.total)
    sample = _counted(draw_sample(shards, plan, progress), facts)
    vocabulary = train_bpe(sample, size, or_fewer=config.vocab_size is None)
    if vocabulary.size < size:
        facts.notes.append(f"The text supports no more than {vocabulary.size} ids; by formula there would be {size}.")
    return vocabulary


def _counted(texts: Iterable[str], facts: Facts) -> Iterator[str]:
    for text in texts:
        facts.counts["sample_bytes"] += len(text.encode())
        yield text


def _utf8(shards: Mapping[str, Sequence[Path]], total: int, progress: Progress) -> Iterator[NDArray[np.uint8]]:
    """All training text, row group by row group."""
    done = 0
    for _, paths in sorted(shards.items()):
        for path in paths:
            for batch in read_batches(path, ["text"]):
                offsets, buffer = text_buffer(batch["text"])
                yield np.frombuffer(buffer, np.uint8)[offsets[0] : offsets[-1]]
                done += int(offsets[-1] - offsets[0])
                progress(done, total, "bytes")


def _measure(shards: Mapping[str, Sequence[Path]], folder: Path) -> tuple[int, int]:
    """Bytes and tokens of some training text, spread evenly over all of it."""
    if not any(shards.values()):
        return 0, 0
    tokenizer = load_tokenizer(folder)
    bytes_ = tokens = 0
    for text in draw_sample(shards, plan_sample(shards, {}, MEASURED_BYTES)):
        bytes_ += len(text.encode())
        tokens += len(tokenizer.encode_ordinary(text))
    return bytes_, tokens


def _ratio(bytes_: int, tokens: int) -> float | None:
    return round(bytes_ / tokens, 4) if tokens else None
