"""A store with everything that a report cites: real text on its way through the data floor, a model made by hand."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.boilerplate.removal import LineRemoval
from data.cleaning import CleanConfig
from data.corpus import SplitConfig, split_slot
from data.documents import SIGNATURES_FILE, clean_slot
from data.duplicates import DROPS_FILE, exact_duplicates
from data.facts import Facts
from data.manifest import ArtifactRef
from data.overlap.benchmarks import read_benchmarks
from data.overlap.config import BenchmarkConfig, DecontaminationConfig
from data.overlap.decontaminating import Decontamination
from data.overlap.report import SlotParts, write_overlap
from data.overlap.sampling import sample_slot
from data.sources.base import Problem, RawDocument
from data.store import Build
from data.tokenizers.config import TokenizerConfig
from data.tokenizers.load import load_tokenizer
from data.tokenizers.make import make_tokenizer
from data.tokens import encode_slot
from tasks.registry import Stage, identity
from tasks.report import Made
from tasks.run import Run
from tasks.runtime import Runtime

STEPS, BATCH, CONTEXT, PARAMETERS = 300, 4, 32, 12_345
PROMPTS = ["", "The miller"]
EVIL = "</p><script src='https://evil.example/x.js'>alert(1)</script><img src=//evil.example onerror=alert(2)>"
SCORE = {
    "loss": 3.21,
    "perplexity": 24.779,
    "bits_per_byte": 1.8765,
    "bits_per_byte_interval": [1.7531, 1.9982],
    "tokens": 4321,
    "bytes": 9876,
    "passages": 12,
}

# what the hand-made text below amounts to
READ, TOO_SHORT, BINARY, CONTAMINATED, DUPLICATES = 48, 3, 1, 1, 2
DROPPED = TOO_SHORT + BINARY + CONTAMINATED
KEPT = READ - DROPPED - DUPLICATES
QUIZ = "Which of the seven mills in the valley stands still on the day of the fair, and why?"


def toy_run(root: Path) -> Run:
    """A run whose store lies at `root`."""
    return Run("Toy recipe", Runtime(store=str(root)))


def toy_made(
    run: Run,
    scored: bool = True,
    metrics: bool = True,
    evil: str = EVIL,
    model_prompts: Sequence[str] = PROMPTS,
    removal: LineRemoval | None = None,
) -> Made:
    """Publish one artifact of every stage.

    evil           what the model writes in the end, and what a dropped document says
    model_prompts  what the model was given along the way; it answers `PROMPTS` in the end
    removal        takes lines out of the corpus
    """
    put = _Publisher(run)
    raw = put("raw", "books-0000", _nothing)
    documents = put("documents", "books-0000", lambda b: _documents(b, evil), raw)
    drops = put("duplicates", "books-0000", lambda b: _duplicates(b, run.store.path(documents)), documents)
    split = SplitConfig(validation_share=0.2 if scored else 0, min_passages=0)
    paths = run.store.path(documents), run.store.path(drops) / DROPS_FILE
    room = 10**6 if scored else 0
    corpus = put(
        "corpus", "books-0000", lambda b: split_slot(*paths, b.out, split, 0, room, removal=removal), documents, drops
    )
    index = put("corpus", "toy", lambda b: _json(b, "index.json", {"slots": [{"source": "books"}]}), corpus)
    shards = run.store.path(corpus)
    config = TokenizerConfig(kind="bpe", vocab_size=300)
    tokenizer = put(
        "tokenizer", "toy", lambda b: make_tokenizer({"books": [shards / "train.parquet"]}, [], config, b.out), corpus
    )
    tokens = put(
        "tokens", "books-0000", lambda b: encode_slot(shards, run.store.path(tokenizer), b.out), corpus, tokenizer
    )
    encode = load_tokenizer(run.store.path(tokenizer)).encode_ordinary
    model = put("model", "toy", lambda b: _model(b, encode, metrics, model_prompts), tokens, tokenizer)
    evaluation = put("evaluation", "toy", _evaluation, model, tokens) if scored else None
    samples = put("samples", "toy", lambda b: _samples(b, evil), model, tokenizer)
    parts = SlotParts("books", run.store.path(corpus), run.store.path(drops), run.store.path(corpus))
    overlap = put("overlap", "toy", lambda b: _overlap(b, parts, run.store.path(documents)), index)
    return Made(index, (documents,), (corpus,), tokenizer, (tokens,), model, evaluation, samples, overlap)


class _Publisher:
    """Publishes artifacts whose identity is their stage, their name and what they were made from."""

    def __init__(self, run: Run) -> None:
        self.store = run.store

    def __call__(self, stage: Stage, name: str, make: Callable[[Build], Facts], *inputs: ArtifactRef) -> ArtifactRef:
        config: dict[str, Any] = {"name": name}
        if stage == "model":
            config |= {
                "model": {"preset": "modern", "layers": 2, "width": 16, "context": CONTEXT, "vocab_size": 300},
                "training": {"steps": STEPS, "batch_size": BATCH},
                "arrays": [{"weight": 2.0, "tokens": []}],
            }
        return self.store.build(identity(stage, config, {"inputs": [i.digest for i in inputs]}), name, make, inputs)


def _nothing(build: Build) -> Facts:
    (build.out / "content.bin").write_bytes(b"text")
    return Facts(notes=["books: notes/latin.txt: read as Windows-1252"])


def _documents(build: Build, evil: str) -> Facts:
    long = [
        f"Chapter {i}. The miller of the {i}th mill ground {i * 7} sacks of grain, and sang of it all day long."
        for i in range(KEPT)
    ]
    texts = [*long, *long[:DUPLICATES], "short", "tiny", "x" * 3]
    found: list[RawDocument | Problem] = [
        RawDocument(f"book/{i}.txt", text, meta={"look": 1}, position=i) for i, text in enumerate(texts)
    ]
    found.append(Problem("binary", "cover.jpg", f"no text: {evil}"))
    quiz = build.keep / "quiz.jsonl"
    quiz.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in (QUIZ, "no words", QUIZ.replace(" ", " and ")))
    )
    found += [RawDocument("quiz.txt", f"A quiz: {QUIZ}", meta={"look": 1})]
    config = DecontaminationConfig(benchmarks={"quiz": BenchmarkConfig(path=str(quiz), fields=["text"])})
    compared = Decontamination(config, read_benchmarks(config, build.keep))
    cleaning = CleanConfig(min_characters=20)
    return clean_slot(found, build.out, cleaning, "books", "CC-BY-4.0", decontamination=compared)


def _duplicates(build: Build, documents: Path) -> Facts:
    return exact_duplicates([documents / SIGNATURES_FILE], build.out)


def _overlap(build: Build, parts: SlotParts, documents: Path) -> Facts:
    sample = build.keep / "sample"
    sample.mkdir()
    sample_slot(documents, parts.duplicates / DROPS_FILE, parts.corpus, sample)
    return write_overlap([parts._replace(sample=sample)], build.out)


def _model(build: Build, encode: Callable[[str], list[int]], metrics: bool, prompts: Sequence[str]) -> Facts:
    (build.out / "model.safetensors").write_bytes(b"weights")
    if metrics:
        lines: list[dict[str, Any]] = [
            {"kind": "train", "step": step, "loss": None if step == 20 else 6 - step / 100}
            for step in (1, *range(10, STEPS + 1, 10))
        ]
        lines += [
            {"kind": "evaluation", "step": step, "val_loss": 6.1 - step / 100, "val_bpb": 3 - step / 300}
            for step in range(100, STEPS + 1, 100)
        ]
        _lines(build.observed / "metrics.jsonl", sorted(lines, key=lambda line: line["step"]))
        attempts = [
            {"step": step, "prompt": prompt, "seed": 1, "ids": encode(f" written at step {step}")}
            for step in (0, 1, 3, 10, 30, 100, STEPS)
            for prompt in range(len(prompts))
        ]
        _lines(build.out / "samples.jsonl", attempts)
    counts = {"parameters": PARAMETERS, "steps": STEPS, "best_step": 300, "train_loss": 3.05, "seconds": 75.0}
    return Facts(counts=counts | {"train_tokens_per_s": 512.5}, details={"device": "CPU", "prompts": list(prompts)})


def _evaluation(build: Build) -> Facts:
    return _json(build, "evaluation.json", SCORE | {"sources": {"books": SCORE}})


def _samples(build: Build, evil: str) -> Facts:
    completions = [
        {"prompt": i, "seed": 1, "ids": [], "prompt_text": prompt, "text": text}
        for i, (prompt, text) in enumerate(zip(PROMPTS, ["\x00\u202eplain", evil], strict=True))
    ]
    return _json(build, "completions.json", {"completions": completions})


def _json(build: Build, name: str, content: Any) -> Facts:
    (build.out / name).write_text(json.dumps(content))
    return Facts()


def _lines(path: Path, lines: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
