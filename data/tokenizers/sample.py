"""The text that BPE is trained on: as much of each source as its weight and the cap allow, spread evenly over it.

Long rows are cut into blocks at line ends, and blocks are taken at regular distances, so that the beginning of a
source counts no more than its end. The same shards and settings give the same sample.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.facts import Progress, no_progress
from data.shards import read_batches, text_buffer, text_sizes
from data.tokenizers.config import TokenizerError

BLOCK_BYTES = 65_536  # UTF-8 bytes of one block, at most

Shards = Mapping[str, Sequence[Path]]  # by source name, in slot order


@dataclass(frozen=True)
class SamplePlan:
    """sizes   UTF-8 bytes of training text, by source
    shares  part of it that is taken, in [0, 1], by source
    """

    sizes: dict[str, int]
    shares: dict[str, float]

    @property
    def total(self) -> int:
        """UTF-8 bytes of all training text."""
        return sum(self.sizes.values())


def plan_sample(shards: Shards, weights: Mapping[str, float], cap: int) -> SamplePlan:
    """Decide how much of each source is taken: in proportion to its weight (1 if not named), `cap` bytes in all.

    Raises TokenizerError for the weight of an unknown source and when the weights leave nothing.
    """
    unknown = sorted(set(weights) - set(shards))
    if unknown:
        raise TokenizerError(
            f"tokenizer.sample_weights names {', '.join(map(repr, unknown))}, but the sources with training text are "
            f"{', '.join(map(repr, sorted(shards))) or 'none'}. Correct the name or remove the weight."
        )
    sizes = {name: sum(_size(path) for path in paths) for name, paths in sorted(shards.items())}
    if sum(sizes.values()) == 0:
        raise TokenizerError("There is no training text to make a tokenizer from: add text, or use kind 'gpt2'.")
    weighted = {name: weights.get(name, 1.0) for name in sizes}
    wanted = sum(weighted[name] * size for name, size in sizes.items())
    if wanted == 0:
        raise TokenizerError(f"tokenizer.sample_weights {dict(weights)} leave no text to train on: raise one of them.")
    largest = max(weight for name, weight in weighted.items() if sizes[name])
    factor = min(1 / largest, cap / wanted)
    return SamplePlan(sizes, {name: min(1.0, factor * weight) for name, weight in weighted.items()})


def draw_sample(shards: Shards, plan: SamplePlan, progress: Progress = no_progress) -> Iterator[str]:
    """Yield the blocks of the sample, source by source in the order of their names."""
    done = 0
    for name, paths in sorted(shards.items()):
        seen = taken = 0
        share = plan.shares[name]
        if share == 0:
            done += plan.sizes[name]
            continue
        for block in _blocks(paths):
            seen += len(block)
            if share == 1 or taken + len(block) <= share * seen:
                taken += len(block)
                yield block.decode()
            progress(done + seen, plan.total, "bytes")
        done += seen


def _size(path: Path) -> int:
    return sum(int(text_sizes(batch).sum()) for batch in read_batches(path, ["text"]))


def _blocks(paths: Sequence[Path]) -> Iterator[bytes]:
    """The rows of the shards; longer ones in pieces of at most BLOCK_BYTES that end at a line or a character."""
    for path in paths:
        for batch in read_batches(path, ["text"]):
            offsets, buffer = text_buffer(batch["text"])
            for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                yield from _cut(buffer.slice(begin, end - begin).to_pybytes())


def _cut(text: bytes) -> Iterator[bytes]:
    begin = 0
    while len(text) - begin > BLOCK_BYTES:
        end = text.rfind(b"\n", begin, begin + BLOCK_BYTES) + 1
        if end == 0:
            end = begin + BLOCK_BYTES
            while text[end] & 0xC0 == 0x80:  # inside of a character
                end -= 1
        yield text[begin:end]
        begin = end
    if begin < len(text):
        yield text[begin:]
