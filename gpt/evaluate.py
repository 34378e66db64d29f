"""`python -m gpt.evaluate EVAL.json`: score a trained model on whole validation splits.

Writes out/evaluation.json (loss in nats per token, perplexity, bits per byte with a 95% bootstrap interval over
passages; of a `masked` model also the share of hidden tokens guessed right; for all sources together and each alone)
and out/passages.npy ((passages, 3) float64: sum of nats, tokens, bytes; of a `masked` model a fourth, those guessed
right; sources, arrays and documents in the order of the job). End-of-text ids are context, never targets
(`gpt.scoring`). Exit codes: 0 done, 2 unusable job, 1 any other failure.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt.arrays import load_token_bytes, open_shard
from gpt.command import run_command, say
from gpt.config import EvaluationConfig
from gpt.device import choose_device
from gpt.errors import GPTError
from gpt.files import write_json
from gpt.jobfile import read_job
from gpt.jobs import EvaluationJob
from gpt.scoring import all_passages, masked_accuracy, score
from gpt.weights import load_model

RESAMPLES_AT_ONCE = 2**22  # drawn passages held at once: 32 MB


def evaluate(job: EvaluationJob, note: Callable[[str], None]) -> dict[str, Any]:
    """Score the model and write both files; returns the content of evaluation.json."""
    device = choose_device(job.runtime, note)
    model = load_model(job.model_dir, device)
    token_bytes = load_token_bytes(job.token_bytes, model.config.vocab_size)
    passages = {
        name: all_passages([open_shard(paths, job.eot_id) for paths in source.validation])
        for name, source in job.sources.items()
    }
    together = [passage for part in passages.values() for passage in part]
    if not together:
        raise GPTError("The sources hold no validation passage, so nothing can be scored: add text.")
    scores = score(model, together, token_bytes, device)
    ends = np.cumsum([len(part) for part in passages.values()])[:-1]
    parts = zip(passages, np.split(scores, ends), strict=True)
    result = summarise(scores, job.bootstrap)
    result["sources"] = {name: summarise(part, job.bootstrap) for name, part in parts if len(part)}
    job.out.mkdir(parents=True, exist_ok=True)
    np.save(job.out / "passages.npy", scores)
    write_json(job.out / "evaluation.json", result)
    return result


def summarise(scores: npt.NDArray[np.float64], bootstrap: EvaluationConfig) -> dict[str, Any]:
    """The numbers of a set of passages with scores as `gpt.scoring.score` gives them."""
    nats, tokens, size = scores[:, :3].sum(0).tolist()
    loss = nats / max(1.0, tokens)
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "bits_per_byte": nats / math.log(2) / max(1.0, size),
        "bits_per_byte_interval": list(bits_per_byte_interval(scores, bootstrap)),
        "tokens": int(tokens),
        "bytes": int(size),
        "passages": len(scores),
        **masked_accuracy(scores),
    }


def bits_per_byte_interval(scores: npt.NDArray[np.float64], bootstrap: EvaluationConfig) -> tuple[float, float]:
    """The 2.5% and 97.5% quantiles of bits per byte over sets of passages drawn with replacement."""
    generator = np.random.default_rng(bootstrap.seed)
    at_once = max(1, RESAMPLES_AT_ONCE // len(scores))
    rates = []
    for first in range(0, bootstrap.resamples, at_once):
        rows = min(at_once, bootstrap.resamples - first)
        drawn = generator.integers(0, len(scores), (rows, len(scores)))
        rates.append(scores[:, 0][drawn].sum(1) / np.maximum(1.0, scores[:, 2][drawn].sum(1)) / math.log(2))
    low, high = np.quantile(np.concatenate(rates), [0.025, 0.975]).tolist()
    return low, high


def main() -> int:
    """Run the command; returns the exit code."""
    description = "Score a model on validation arrays."
    return run_command("gpt.evaluate", description, lambda job: evaluate(read_job(EvaluationJob, job), say))


if __name__ == "__main__":
    sys.exit(main())
