"""The validation text of a run: a fixed sample while it trains, all of it at the end. Decides nothing."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch

from gpt.arrays import load_token_bytes, open_shard
from gpt.best import Score
from gpt.jobs import RunJob
from gpt.model import GPT
from gpt.scoring import all_passages, masked_accuracy, means, sample_passages, score
from gpt.shuffle import derive

PASSAGES = 2  # stream of random numbers that chooses the validation sample


class Validation:
    """`passages` are those of all sources, `sample` some of them; both are empty where there is no validation text."""

    def __init__(self, job: RunJob, device: torch.device) -> None:
        """Opens the arrays; raises GPTError when one cannot be read."""
        training = job.training
        assert training.evaluation_tokens is not None
        self.device = device
        self.token_bytes = load_token_bytes(job.token_bytes, job.model.vocab_size or 0)
        self.passages = all_passages([open_shard(p, job.eot_id) for s in job.sources.values() for p in s.validation])
        self.sample = sample_passages(self.passages, training.evaluation_tokens, derive(training.seed, PASSAGES))

    def of_sample(self, models: Mapping[str, GPT]) -> dict[str, Score]:
        """Score the sample with each of the models, in the device's mixed precision."""
        return {
            name: _summed_up(score(model, self.sample, self.token_bytes, self.device, exact=False))
            for name, model in models.items()
        }

    def of_all(self, model: GPT, tick: Callable[[], None]) -> Score:
        """Score everything in float32; `tick` is called after each batch."""
        return _summed_up(score(model, self.passages, self.token_bytes, self.device, tick=tick))


def _summed_up(scores: npt.NDArray[np.float64]) -> Score:
    return Score(*means(scores), **masked_accuracy(scores))
