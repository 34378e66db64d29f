"""Small token arrays, configs and jobs for the tests of the `gpt` floor. Texts are made up, ids are small."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt.arrays import TokenShard
from gpt.config import ModelConfig, TrainingConfig
from gpt.model import GPT
from gpt.plan import resolve

torch.set_num_threads(1)  # small models gain nothing from threads, and lose much on a busy machine

EOT = 0
VOCAB = 50


def documents(count: int, seed: int = 0, shortest: int = 1, longest: int = 60) -> list[list[int]]:
    """Documents that begin with the end-of-text id and go on with runs of neighbouring ids, which can be learned."""
    generator = np.random.default_rng(seed)
    made = []
    for size in generator.integers(shortest, longest, count, endpoint=True).tolist():
        steps = generator.integers(1, 4, size)
        made.append([EOT, *((np.cumsum(steps) % (VOCAB - 1)) + 1).tolist()])
    return made


def write_arrays(folder: Path, name: str, texts: list[list[int]], dtype: Any = np.uint16) -> dict[str, str]:
    """Save documents as the tokens stage does; returns the entry of a job file."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = np.array([token for text in texts for token in text], dtype)
    starts = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    np.save(folder / f"{name}.npy", flat)
    np.save(folder / f"{name}.documents.npy", starts)
    return {"tokens": str(folder / f"{name}.npy"), "documents": str(folder / f"{name}.documents.npy")}


def shard(texts: list[list[int]]) -> TokenShard:
    """Documents as an array in memory."""
    flat = np.array([token for text in texts for token in text], np.uint16)
    return TokenShard(Path("memory.npy"), flat, np.cumsum([0, *map(len, texts)]).astype(np.int64))


def tiny_model_open(preset: str = "modern", **changes: Any) -> ModelConfig:
    """A config of two small layers (`bigram`: of none), before it is resolved."""
    shape = {} if preset == "bigram" else {"layers": 2, "width": 32, "heads": 2}
    return ModelConfig(**({"preset": preset, **shape, "context": 16, "dropout": 0.0} | changes))


def tiny_model(preset: str = "modern", **changes: Any) -> ModelConfig:
    """The same, resolved."""
    vocab_size = changes.pop("vocab_size", VOCAB)
    return resolve(tiny_model_open(preset, **changes), TrainingConfig(steps=10), vocab_size, 10_000)[0]


VARIANTS = {
    "gpt2": tiny_model("gpt2"),
    "gpt2 with biases": tiny_model("gpt2", bias=True),
    "modern untied": tiny_model("modern", tied=False),
    "modern tied": tiny_model("modern", tied=True),
    "modern, long and wide": tiny_model("modern", tied=False, context=200, heads=4, width=64, rope_theta=1e5),
    "bigram": tiny_model("bigram"),
    "bigram of rank 12": tiny_model("bigram", width=12),
    "bigram tied": tiny_model("bigram", tied=True),
}


def random_model(config: ModelConfig, seed: int = 7) -> GPT:
    """A model whose every weight matters, norm gains and biases included."""
    model = GPT(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.ndim == 1))
    return model


def tiny_training(preset: str = "modern", **changes: Any) -> TrainingConfig:
    """A resolved config of a short training of the small model."""
    fields = {"steps": 20, "batch_size": 4, "learning_rate": 3e-3, "weight_decay": 0.1} | changes
    return resolve(tiny_model_open(preset), TrainingConfig(**fields), VOCAB, 10_000)[1]


def write_job(folder: Path, model: dict[str, Any] | None = None, **training: Any) -> Path:
    """A whole RUN.json with its arrays below `folder`, of so little text that it is overfitted; returns its path."""
    arrays = {
        "train": [write_arrays(folder, "train-0", documents(5)), write_arrays(folder, "train-1", documents(3, 1))],
        "validation": [write_arrays(folder, "validation-0", documents(12, 2))],
    }
    np.save(folder / "token_bytes.npy", np.array([0] + [1] * (VOCAB - 1), np.int32))
    job = {
        "run_dir": str(folder / "run"),
        "model": dataclasses.asdict(tiny_model(**(model or {}))),
        "training": dataclasses.asdict(tiny_training((model or {}).get("preset", "modern"), **training)),
        "sources": {"made-up": {"weight": 1.0, **arrays}},
        "token_bytes": str(folder / "token_bytes.npy"),
        "eot_id": EOT,
        "tokenizer_digest": "tokenizer-1",
        "data_digest": "data-1",
        "sampling": {"prompts": [[], [5, 6]], "steps": [0, 1, 4, 16], "tokens": 8},
        "runtime": {"device": "cpu", "threads": 1, "checkpoint_seconds": 30},
    }
    path = folder / "RUN.json"
    path.write_text(json.dumps(job))
    return path


def change_job(path: Path, **changes: Any) -> Path:
    """Change keys of a job file; dotted keys are written with two underscores."""
    job = json.loads(path.read_text())
    for key, value in changes.items():
        *parents, last = key.split("__")
        target = job
        for parent in parents:
            target = target[parent]
        target[last] = value
    path.write_text(json.dumps(job))
    return path
