"""What is known of a finished run, as numbers: gathered from manifests and payloads, before anybody draws anything.

Everything here follows from the payloads that the report cites, so the same artifacts give the same facts; what was
only observed is told by `tasks/report_learning.py` (curves, samples) and `tasks/report_builds.py` (timings, notes). A
comparison of several runs starts here.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.manifest import ArtifactRef, Manifest
from data.overlap.decontaminating import CONTAMINATED, CONTAMINATION_FILE
from data.overlap.report import OVERLAP_FILE
from data.privacy.config import THINGS
from data.store import Store

EVALUATION_FILE = "evaluation.json"
SCORES_FILE = "benchmark.json"
INDEX_FILE = "index.json"
PLAN_FILE = "plan.json"
TOKENIZER_META_FILE = "tokenizer.meta.json"

Counts = dict[str, int | float]


@dataclass(frozen=True)
class Made:
    """What a run has made. `documents`, `corpus` and `tokens` are slot by slot, in one order."""

    index: ArtifactRef  # of the corpus
    documents: tuple[ArtifactRef, ...]
    corpus: tuple[ArtifactRef, ...]
    tokenizer: ArtifactRef
    tokens: tuple[ArtifactRef, ...]
    model: ArtifactRef
    evaluation: ArtifactRef | None  # None when there is no validation text
    samples: ArtifactRef
    overlap: ArtifactRef | None = None
    plan: ArtifactRef | None = None
    benchmarks: Mapping[str, ArtifactRef] = field(default_factory=dict)  # scores by the benchmark's name

    def refs(self) -> tuple[ArtifactRef, ...]:
        """All of them, upstream first."""
        judged = (self.samples,) if self.evaluation is None else (self.evaluation, self.samples)
        overlap = () if self.overlap is None else (self.overlap,)
        plan = () if self.plan is None else (self.plan,)
        made = (*self.documents, *self.corpus, self.index, *overlap, self.tokenizer, *self.tokens, *plan, self.model)
        return (*made, *judged, *self.benchmarks.values())

    def digests(self) -> dict[str, str | list[str]]:
        """Payload digests by role; this is all that determines a report."""
        single = {"index": self.index, "tokenizer": self.tokenizer, "model": self.model, "samples": self.samples}
        single |= {} if self.evaluation is None else {"evaluation": self.evaluation}
        single |= {} if self.overlap is None else {"overlap": self.overlap}
        single |= {} if self.plan is None else {"plan": self.plan}
        slots = {"documents": self.documents, "corpus": self.corpus, "tokens": self.tokens}
        digests: dict[str, str | list[str]] = {role: [ref.digest for ref in refs] for role, refs in slots.items()}
        single |= {f"benchmark {name}": ref for name, ref in self.benchmarks.items()}
        return digests | {role: ref.digest for role, ref in single.items()}


@dataclass(frozen=True)
class SourceFacts:
    """One source's text, summed over its slots; each field holds the counts of the stage it is named after."""

    name: str
    slots: int
    documents: Counts
    corpus: Counts
    tokens: Counts
    licences: tuple[str, ...]

    @property
    def drops(self) -> dict[str, int]:
        """Documents dropped by reason: by cleaning, and because they were nothing but boilerplate."""
        prefix = "dropped_"
        counts = {**self.documents, **self.corpus}
        return {k.removeprefix(prefix): int(n) for k, n in counts.items() if k.startswith(prefix)}

    @property
    def replaced(self) -> list[str]:
        """Personal data that placeholders stand for, e.g. `12 e-mail addresses`."""
        found = ((THINGS[one], int(self.documents.get(f"replaced_{one}", 0))) for one in THINGS)
        return [f"{count:,} {one if count == 1 else several}" for (one, several), count in found if count]

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of text per ordinary token: the mark before each document is no text and does not count."""
        tokens, documents, size = (
            sum(self.tokens.get(f"{side}_{field}", 0) for side in ("train", "validation"))
            for field in ("tokens", "documents", "bytes")
        )
        return size / (tokens - documents) if tokens > documents else None


@dataclass(frozen=True)
class Share:
    """What a source gave to the training: its part of the tokens seen, and how often that repeats its own."""

    of_training: float  # 0 to 1
    epochs: float


@dataclass(frozen=True)
class BenchmarkFacts:
    """A benchmark that documents were compared with: its items, and what became of documents that hold some.

    comparable  items that are long enough
    found       comparable items that stood in some document
    dropped     documents with items; a document with items of several benchmarks counts for the first by name
    cut         documents that were kept without the text around the items, likewise
    """

    name: str
    items: int
    comparable: int
    found: int
    dropped: int
    cut: int


@dataclass(frozen=True)
class RunFacts:
    """One run.

    model, training  as resolved for this model; `parameters` and `tokens_seen` are counts
    evaluation       content of evaluation.json, or None
    tokenizer        content of tokenizer.meta.json
    sources, corpus  the text by source (by name), and all together
    shares           by source, its part in the training
    benchmarks       those kept out of documents
    overlap          content of overlap.json, or None
    plan             content of plan.json, or None
    scores           content of benchmark.json by the benchmark's name, for those that the model was scored on
    steps            done to get to the last weights: fewer than planned when the guard has cut the run short
    artifacts        every artifact cited, upstream first: stage, key, payload digest
    """

    model: dict[str, Any]
    training: dict[str, Any]
    parameters: int
    tokens_seen: int
    evaluation: dict[str, Any] | None
    tokenizer: dict[str, Any]
    sources: tuple[SourceFacts, ...]
    corpus: SourceFacts
    shares: dict[str, Share]
    artifacts: tuple[dict[str, str], ...]
    benchmarks: tuple[BenchmarkFacts, ...] = ()
    overlap: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    steps: int = 0
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        derived = {"bytes_per_token": self.corpus.bytes_per_token}
        given = asdict(self)
        if not self.scores:
            del given["scores"]  # so that a run without benchmarks has the facts that it always had
        return given | derived


def gather_facts(store: Store, made: Made) -> RunFacts:
    """Read what the manifests and the small payload files of a run say."""
    trained = store.manifest(made.model)
    model, training = trained.recipe.config["model"], trained.recipe.config["training"]
    sources = _sources(store, made)
    steps = int(trained.counts.get("steps", training.get("stop_at", training["steps"])))
    tokens_seen = steps * training["batch_size"] * model["context"]
    return RunFacts(
        model=model,
        training=training,
        parameters=int(trained.counts["parameters"]),
        tokens_seen=tokens_seen,
        evaluation=read_evaluation(store, made.evaluation),
        tokenizer=read_json(store.path(made.tokenizer) / TOKENIZER_META_FILE),
        sources=tuple(sources),
        corpus=_together(sources),
        shares=_shares(sources, [entry["weight"] for entry in trained.recipe.config["arrays"]], tokens_seen),
        artifacts=tuple({"stage": ref.stage, "key": ref.key, "digest": ref.digest} for ref in made.refs()),
        benchmarks=tuple(_benchmarks(store, made)),
        overlap=None if made.overlap is None else read_json(store.path(made.overlap) / OVERLAP_FILE),
        plan=None if made.plan is None else read_json(store.path(made.plan) / PLAN_FILE),
        steps=steps,
        scores={name: json.loads(store.read(ref, SCORES_FILE)) for name, ref in made.benchmarks.items()},
    )


def read_evaluation(store: Store, evaluation: ArtifactRef | None) -> dict[str, Any] | None:
    """Content of evaluation.json, None when the model was not scored."""
    return None if evaluation is None else read_json(store.path(evaluation) / EVALUATION_FILE)


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one JSON object per line; an absent file has none."""
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def _sources(store: Store, made: Made) -> list[SourceFacts]:
    """The text by source; the index says which slot belongs to which."""
    names = [slot["source"] for slot in read_json(store.path(made.index) / INDEX_FILE)["slots"]]
    slots: dict[str, list[tuple[Manifest, ...]]] = defaultdict(list)
    for name, *refs in zip(names, made.documents, made.corpus, made.tokens, strict=True):
        slots[name].append(tuple(store.manifest(ref) for ref in refs))
    found = []
    for name, triples in sorted(slots.items()):
        documents, corpus, tokens = (add_up(one.counts for one in column) for column in zip(*triples, strict=True))
        licences = {licence for first, *_ in triples for licence in first.licences}
        found.append(SourceFacts(name, len(triples), documents, corpus, tokens, tuple(sorted(licences))))
    return found


def _benchmarks(store: Store, made: Made) -> Iterator[BenchmarkFacts]:
    """The benchmarks by name; an item that stands in several slots counts once."""
    held = [ref for ref in made.documents if CONTAMINATION_FILE in store.manifest(ref).files]
    reports = [json.loads(store.read(ref, CONTAMINATION_FILE)) for ref in held]
    counts = add_up(store.manifest(ref).counts for ref in made.documents)
    for name, about in sorted(reports[0].items()) if reports else ():
        found = {line for report in reports for line in report[name]["found"]}
        dropped, cut = (int(counts.get(f"{what}{name}", 0)) for what in (f"dropped_{CONTAMINATED}", "decontaminated_"))
        yield BenchmarkFacts(name, about["items"], about["comparable"], len(found), dropped, cut)


def _shares(sources: list[SourceFacts], weights: list[float], tokens_seen: int) -> dict[str, Share]:
    """`weights` as the model was trained with, in the order of `sources`."""
    shares = [weight / sum(weights) for weight in weights]
    return {
        source.name: Share(share, share * tokens_seen / max(1, source.tokens.get("train_tokens", 0)))
        for source, share in zip(sources, shares, strict=True)
    }


def _together(sources: Iterable[SourceFacts]) -> SourceFacts:
    parts = list(sources)
    return SourceFacts(
        "all",
        sum(source.slots for source in parts),
        add_up(source.documents for source in parts),
        add_up(source.corpus for source in parts),
        add_up(source.tokens for source in parts),
        tuple(sorted({licence for source in parts for licence in source.licences})),
    )


def add_up(counts: Iterable[Mapping[str, int | float]]) -> Counts:
    """Counts of several artifacts, added field by field."""
    total: Counts = defaultdict(int)
    for one in counts:
        for name, number in one.items():
            total[name] += number
    return dict(total)
