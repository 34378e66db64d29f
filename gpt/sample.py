"""`python -m gpt.sample SAMPLE.json`: continuations of prompts, ids in and ids out.

Writes out/completions.json: {"completions": [{"prompt": i, "seed": s, "ids": [...]}]}, for each prompt `count` of them
with the seeds seed, seed + 1, ... Of a prompt with gaps, `ids` are the whole text (`gpt.filling`). Exit codes: 0 done,
2 unusable job, 1 any other failure.
"""

import sys
from collections.abc import Callable
from typing import Any

from gpt.command import run_command, say
from gpt.device import choose_device
from gpt.files import write_json
from gpt.generate import continuations
from gpt.jobfile import read_job
from gpt.jobs import SampleJob
from gpt.weights import load_model

SEQUENCES_AT_ONCE = 64


def sample(job: SampleJob, note: Callable[[str], None]) -> dict[str, Any]:
    """Draw all continuations and write the file; returns its content."""
    model = load_model(job.model_dir, choose_device(job.runtime, note))
    wanted = [(prompt, job.seed + number) for prompt in range(len(job.prompts)) for number in range(job.count)]
    completions = []
    for first in range(0, len(wanted), SEQUENCES_AT_ONCE):
        batch = wanted[first : first + SEQUENCES_AT_ONCE]
        prompts, seeds = [job.prompts[prompt] for prompt, _ in batch], [seed for _, seed in batch]
        drawn = continuations(model, prompts, job.tokens, job.temperature, job.top_k, job.top_p, seeds, job.eot_id)
        completions += [
            {"prompt": prompt, "seed": seed, "ids": ids} for (prompt, seed), ids in zip(batch, drawn, strict=True)
        ]
    job.out.mkdir(parents=True, exist_ok=True)
    write_json(job.out / "completions.json", {"completions": completions})
    return {"completions": completions}


def main() -> int:
    """Run the command; returns the exit code."""
    description = "Continue prompts with a model."
    return run_command("gpt.sample", description, lambda job: sample(read_job(SampleJob, job), say))


if __name__ == "__main__":
    sys.exit(main())
