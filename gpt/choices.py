"""`python -m gpt.choices CHOICES.json`: which ending a model finds likeliest, over the items of a benchmark.

An ending's score is the sum of ln p over its ids, each predicted from the context and the ending's ids before it.
`accuracy` chooses the ending of the highest sum, `accuracy_norm` that of the highest sum per UTF-8 byte, so that long
endings are not at a disadvantage and models with other tokenizers can be compared; of equal ones the first. An item
with a score that is no number counts as wrong. lm-evaluation-harness takes the same two (its `acc`, and its `acc_norm`
by the length in characters: lm_eval/api/task.py); karpathy/llm.c divides by ids instead (dev/data/hellaswag.py).

An item longer than the context loses its beginning. Where an ending alone is more than half the context long, it is
scored in windows that move by half the context, as validation text is (`gpt.scoring`), so that every id of it is
counted, and seen from at least half a context where there is that much text.

Writes out/benchmark.json and out/items.npy ((items, 2) bool: right by sum, right by sum per byte) and out/endings.npy
((endings,) float64: -ln p). Exit codes: 0 done, 2 unusable job, 1 any other failure.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpt.command import run_command, say
from gpt.device import choose_device
from gpt.errors import GPTError
from gpt.files import write_json
from gpt.jobfile import read_job
from gpt.jobs import ChoicesJob, ItemPaths
from gpt.model import GPT
from gpt.scoring import LOGITS_AT_ONCE, TOKENS_AT_ONCE, Passage, Window, score_windows
from gpt.weights import load_model

RESULT_FILE, ITEMS_FILE, ENDINGS_FILE = "benchmark.json", "items.npy", "endings.npy"
NORMAL_95 = 1.959964  # standard deviations on either side of a normal mean that hold 95%


@dataclass(frozen=True)
class Questions:
    """The items of a benchmark in a model's ids.

    passages  one for each ending: ids of the context, at least one, and of the ending, at least one
    begins    (endings,) int64: where in its passage each ending begins
    sizes     (endings,) int64: UTF-8 bytes of each
    counts    (items,) int64: endings of each item, which follow one another
    labels    (items,) int64: the right one of them, from 0
    """

    passages: Sequence[Passage]
    begins: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def choose(job: ChoicesJob, note: Callable[[str], None]) -> dict[str, Any]:
    """Score the model and write the files; returns the content of benchmark.json."""
    device = choose_device(job.runtime, note)
    model = load_model(job.model_dir, device)
    questions = read_questions(job.items, model.config.vocab_size)
    nats = score_endings(model, questions, device)
    right = which_are_right(nats, questions)
    result = summarise(right, questions)
    job.out.mkdir(parents=True, exist_ok=True)
    np.save(job.out / ENDINGS_FILE, nats)
    np.save(job.out / ITEMS_FILE, right)
    write_json(job.out / RESULT_FILE, result)
    return result


def read_questions(paths: ItemPaths, vocab_size: int | None) -> Questions:
    """The items from their arrays; raises GPTError where these do not fit together or hold unknown ids."""
    tokens, parts, items, sizes = (np.load(path, allow_pickle=False) for path in vars(paths).values())
    counts, labels = items[:, 0], items[:, 1]
    lengths = np.diff(parts)
    firsts = np.cumsum(counts + 1) - counts - 1  # the part that is the context of each item
    if not len(items) or len(lengths) != counts.sum() + len(items) or len(sizes) != counts.sum():
        raise GPTError(
            f"{paths.items} tells of {len(items)} items with {counts.sum()} endings, but {paths.parts} holds "
            f"{len(lengths)} parts and {paths.sizes} {len(sizes)} sizes: make the arrays again."
        )
    if parts[-1] != len(tokens) or lengths.min() < 1 or sizes.min() < 1 or labels.min() < 0 or (labels >= counts).any():
        raise GPTError(f"{paths.parts} and {paths.items} hold an empty part or a label out of range: make them again.")
    if vocab_size is not None and tokens.max() >= vocab_size:
        raise GPTError(
            f"{paths.tokens} holds the id {tokens.max()}, but the model knows only {vocab_size} ids: encode the items "
            f"with its own tokenizer."
        )
    passages: list[Passage] = []
    begins: list[int] = []
    for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
        context = tokens[parts[first] : parts[first + 1]]
        for part in range(first + 1, first + 1 + count):
            passages.append(np.concatenate([context, tokens[parts[part] : parts[part + 1]]]))
            begins.append(len(context))
    return Questions(passages, np.array(begins, np.int64), sizes, counts, labels)


def cut_windows(length: int, begin: int, context: int, passage: int = 0) -> list[Window]:
    """The windows that score the ids from `begin` (at least 1) on of a passage of `length` ids, each once."""
    stride = max(1, context // 2)
    windows, scored = [], begin - 1
    while scored < length - 1:
        end = min(length - 1, max(context, scored + stride))
        windows.append(Window(passage, max(0, end - context), scored, end))
        scored = end
    return windows


@torch.no_grad()
def score_endings(model: GPT, questions: Questions, device: torch.device) -> npt.NDArray[np.float64]:
    """Sum of -ln p in nats of each ending, (endings,). Raises GPTError for a model that fills gaps."""
    if model.config.masked:
        raise GPTError(
            "A masked model gives no probability of an ending after a context: score a model with objective causal."
        )
    context = model.config.context
    windows = [
        window
        for number, (passage, begin) in enumerate(zip(questions.passages, questions.begins.tolist(), strict=True))
        for window in cut_windows(len(passage), begin, context, number)
    ]
    windows.sort(key=lambda one: one.end - one.begin, reverse=True)  # like lengths together need little padding
    room = min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // model.config.padded_vocab)
    nats = np.zeros(len(questions.passages))
    model.eval()
    first = 0
    while first < len(windows):
        longest = windows[first].end - windows[first].begin
        batch = windows[first : first + max(1, room // longest)]
        for window, its in zip(batch, score_windows(model, questions.passages, batch, device, True), strict=True):
            nats[window.passage] += its
        first += len(batch)
    return nats


def which_are_right(nats: npt.NDArray[np.float64], questions: Questions) -> npt.NDArray[np.bool_]:
    """(items, 2): whether the right ending has the lowest nats, and the lowest nats per byte."""
    right = np.zeros((len(questions.counts), 2), bool)
    ends = np.cumsum(questions.counts)
    for item, (end, label) in enumerate(zip(ends.tolist(), questions.labels.tolist(), strict=True)):
        its = slice(end - int(questions.counts[item]), end)
        for column, scores in enumerate((nats[its], nats[its] / questions.sizes[its])):
            right[item, column] = bool(np.isfinite(scores).all()) and int(scores.argmin()) == label
    return right


def summarise(right: npt.NDArray[np.bool_], questions: Questions) -> dict[str, Any]:
    """The content of benchmark.json: shares with 95% intervals after Wilson, items, and what guessing would give."""
    items = len(right)
    found: dict[str, Any] = {"items": items, "chance": float((1 / questions.counts).mean())}
    for column, name in enumerate(("accuracy", "accuracy_norm")):
        hits = int(right[:, column].sum())
        found |= {name: hits / items, f"{name}_interval": list(wilson_interval(hits, items))}
    return found


def wilson_interval(hits: int, tries: int) -> tuple[float, float]:
    """The 95% score interval of a share (Wilson, Journal of the American Statistical Association 22, 1927)."""
    squared = NORMAL_95**2
    half = NORMAL_95 * math.sqrt(hits * (tries - hits) / tries + squared / 4)
    middle = hits + squared / 2
    return max(0.0, (middle - half) / (tries + squared)), min(1.0, (middle + half) / (tries + squared))


def main() -> int:
    """Run the command; returns the exit code."""
    description = "Tell which ending a model finds likeliest, over the items of a benchmark."
    return run_command("gpt.choices", description, lambda job: choose(read_job(ChoicesJob, job), say))


if __name__ == "__main__":
    sys.exit(main())
