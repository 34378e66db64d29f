"""A learner from a job: its arrays opened, its batches laid out."""

import torch

from gpt.arrays import open_shard
from gpt.batches import Batches
from gpt.jobs import RunJob
from gpt.learner import Learner
from gpt.ranks import ALONE, Ranks


def assemble(job: RunJob, device: torch.device, ranks: Ranks = ALONE) -> Learner:
    """The learner that a job describes, before its first update. Raises GPTError when the arrays cannot be used."""
    model, training, runtime = job.model, job.training, job.runtime
    shards = {name: [open_shard(p, job.eot_id) for p in s.train] for name, s in job.sources.items()}
    weights = {name: source.weight for name, source in job.sources.items()}
    batches = Batches(shards, weights, model.context, training.batch_size, model.vocab_size, training.seed)
    compiled = runtime.compile and device.type == "cuda"
    logits_bytes = None if runtime.logits_gib is None else runtime.logits_gib * 2**30
    return Learner(model, training, batches, device, compiled, logits_bytes, ranks, runtime.micro_batch)
