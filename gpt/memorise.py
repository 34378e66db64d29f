"""`python -m gpt.memorise MEMORISE.json`: how much of its training text a model goes on with verbatim.

At places drawn at random from the training arrays the model reads a prefix; the place counts as memorised when greedy
decoding would go on with the very ids of the text for the whole span, as in arXiv 2202.07646. One pass tells: every id
of the span is the likeliest after the true ids before it. Both lengths are in bytes of text, so that models with other
tokenizers can be compared. Stock phrases count as well: the share means little alone, and something beside that of
another model on the same kind of text.

Writes out/memorisation.json. Exit codes: 0 done, 2 unusable job, 1 any other failure.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpt.arrays import TokenShard, load_token_bytes, open_shard
from gpt.command import run_command, say
from gpt.device import choose_device
from gpt.errors import GPTError
from gpt.files import write_json
from gpt.jobfile import read_job
from gpt.jobs import MemorisationJob
from gpt.model import GPT
from gpt.weights import load_model

FILE = "memorisation.json"
AT_ONCE = 32  # windows of one pass

Window = tuple[npt.NDArray[np.int64], int]  # ids, and how many at their end are the span


def memorise(job: MemorisationJob, note: Callable[[str], None]) -> dict[str, Any]:
    """Test the model and write the file; returns its content."""
    device = choose_device(job.runtime, note)
    model = load_model(job.model_dir, device).eval()
    if model.config.masked:
        raise GPTError("A masked model goes on with nothing, so it cannot be tested for it: set the samples to 0.")
    token_bytes = load_token_bytes(job.token_bytes, model.config.vocab_size)
    shards = [open_shard(paths, job.eot_id) for source in job.sources.values() for paths in source.train]
    windows = draw_windows(shards, token_bytes, job, model.config.context)
    verbatim = sum(are_verbatim(model, windows[at : at + AT_ONCE], device) for at in range(0, len(windows), AT_ONCE))
    result = {
        "places": len(windows),
        "verbatim": verbatim,
        "share": verbatim / max(1, len(windows)),
        "prefix_bytes": job.prefix_bytes,
        "span_bytes": job.span_bytes,
    }
    job.out.mkdir(parents=True, exist_ok=True)
    write_json(job.out / FILE, result)
    return result


def draw_windows(
    shards: Sequence[TokenShard], token_bytes: npt.NDArray[np.integer], job: MemorisationJob, context: int
) -> list[Window]:
    """Up to `job.samples` places, drawn evenly over all tokens; those too near to a document's end are left out."""
    ends = np.cumsum([len(shard.tokens) for shard in shards])
    if not len(ends) or not ends[-1]:
        return []
    places = np.sort(np.random.default_rng(job.seed).integers(0, ends[-1], job.samples))
    windows = []
    for place in places.tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        shard = shards[number]
        at = place - int(ends[number] - len(shard.tokens))
        document = int(np.searchsorted(shard.starts, at, side="right")) - 1
        first, last = max(at, int(shard.starts[document]) + 1), int(shard.starts[document + 1])
        window = cut_window(shard.tokens[first:last], token_bytes, job, context)
        if window is not None:
            windows.append(window)
    return windows


def cut_window(
    ids: npt.NDArray[np.unsignedinteger],
    token_bytes: npt.NDArray[np.integer],
    job: MemorisationJob,
    context: int,
) -> Window | None:
    """Prefix and span from the beginning of `ids`, whole ids that reach the bytes wanted; None where they do not.

    A prefix that does not fit into the context beside its span loses its beginning.
    """
    ids = ids[: job.prefix_bytes + job.span_bytes + 2].astype(np.int64)  # an id has at least a byte
    reached = np.cumsum(token_bytes[ids])
    prefix = int(np.searchsorted(reached, job.prefix_bytes)) + 1
    if prefix >= len(ids):
        return None
    end = int(np.searchsorted(reached, reached[prefix - 1] + job.span_bytes)) + 1
    if end > len(ids):
        return None
    span = min(end - prefix, context)
    return ids[max(0, end - context - 1) : end], span


@torch.no_grad()
def are_verbatim(model: GPT, windows: Sequence[Window], device: torch.device) -> int:
    """Of how many windows the whole span would be drawn greedily."""
    longest = max(len(ids) for ids, _ in windows)
    padded = np.zeros((len(windows), longest), np.int64)
    counted = np.zeros((len(windows), longest - 1), bool)
    for row, (ids, span) in enumerate(windows):
        padded[row, : len(ids)] = ids
        counted[row, len(ids) - 1 - span : len(ids) - 1] = True
    inputs = torch.from_numpy(padded).to(device)
    hidden = model.hidden(inputs[:, :-1])
    missed = np.zeros(len(windows), bool)
    for row in range(len(windows)):
        chosen = torch.from_numpy(counted[row]).to(device)
        likeliest = model.logits(hidden[row][chosen])[:, : model.config.vocab_size].argmax(-1)
        missed[row] = bool((likeliest != inputs[row, 1:][chosen]).any())
    return int((~missed).sum())


def main() -> int:
    """Run the command; returns the exit code."""
    description = "Test how much of its training text a model goes on with verbatim."
    return run_command("gpt.memorise", description, lambda job: memorise(read_job(MemorisationJob, job), say))


if __name__ == "__main__":
    sys.exit(main())
