"""The report stage: one page that shows what came out of a run, and cites the builds that it shows.

The page's key follows from what it is about and from nothing else, so a run that reused everything makes no new page.
`facts.json` is its payload; the page and its pictures, which also show timings and versions, are observations.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from data.facts import Facts
from data.manifest import ArtifactRef, canonical_json
from data.store import Build, Store
from data.tokenizers.load import load_tokenizer
from tasks.corpus_facts import CorpusFacts, gather_corpus_facts
from tasks.corpus_parts import Part, with_drops
from tasks.plan_table import rows
from tasks.registry import identity
from tasks.report_builds import read_builds, read_notes, read_versions, trace
from tasks.report_drops import read_boilerplate, read_drops
from tasks.report_facts import INDEX_FILE, Made, RunFacts, gather_facts, read_json
from tasks.report_learning import Curves, read_curves, read_samples
from tasks.report_page import example_tokens, render
from tasks.run import Run
from tasks.units import Unit, UnitProgress, run_unit

__all__ = ["FACTS_FILE", "LOSS_PICTURE", "PAGE_FILE", "Made", "report", "report_unit"]

FACTS_FILE = "facts.json"
PAGE_FILE = "observed/report.html"
LOSS_PICTURE = "observed/loss.png"

Pictures = dict[str, dict[str, bytes]]
"""{picture: {theme: PNG}}; without those that have nothing to show."""


def report(run: Run, made: Made, recipe: Mapping[str, Any], name: str) -> ArtifactRef:
    """The page about what a run has made. The flow says itself when the stage is done, after its run card."""
    return run_unit(run, "report", report_unit(run, made, recipe, name))


def report_unit(run: Run, made: Made, recipe: Mapping[str, Any], name: str) -> Unit:
    """The page as a unit of work; `recipe` and `name` are shown on it and enter no key."""
    make = partial(_make, run, made, recipe, name)
    return Unit(name, name, identity("report", {"page": 1}, made.digests()), made.refs(), make)


def _make(run: Run, made: Made, recipe: Mapping[str, Any], name: str, build: Build, progress: UnitProgress) -> Facts:
    store = run.store
    facts = gather_facts(store, made)
    (build.out / FACTS_FILE).write_text(canonical_json(facts.to_json()) + "\n", encoding="utf-8")
    curves = read_curves(store, made.model)
    corpus = _read_corpus(store, made, name)
    pictures = _draw(curves, facts, corpus)
    for picture, themes in pictures.items():
        (build.observed / f"{picture}.png").write_bytes(themes["light"])
    progress(1, 2, "parts")
    tokenizer = load_tokenizer(store.path(made.tokenizer))
    manifests = trace(store, made)
    page = render(
        name=name,
        recipe=recipe,
        facts=facts,
        corpus=corpus,
        model_counts=store.manifest(made.model).counts,
        device=store.manifest(made.model).details.get("device"),
        curves=curves,
        pictures=pictures,
        samples=read_samples(store, made, tokenizer.decode),
        example_tokens=example_tokens(tokenizer.decode, tokenizer.vocab_size),
        drops=read_drops(store, made.documents),
        boilerplate=read_boilerplate(store, made),
        notes=read_notes(manifests, run.notes),
        builds=read_builds(store, manifests, run.records),
        versions=read_versions(manifests),
        plan=rows(facts.plan) if facts.plan else [],
    )
    (build.observed / "report.html").write_text(page, encoding="utf-8")
    progress(2, 2, "parts")
    scored = facts.evaluation or {}
    counts: dict[str, int | float] = {}
    for field in ("bits_per_byte", "loss", "perplexity"):
        if field in scored:
            counts[field] = scored[field]
    return Facts(counts=counts, licences=list(facts.corpus.licences))


def _read_corpus(store: Store, made: Made, recipe_name: str) -> CorpusFacts:
    slots = read_json(store.path(made.index) / INDEX_FILE)["slots"]
    parts = [
        Part(slot["source"], slot.get("number", at), store.manifest(documents), None, store.manifest(shards))
        for at, (slot, documents, shards) in enumerate(zip(slots, made.documents, made.corpus, strict=True))
    ]
    tokens = [store.manifest(ref) for ref in made.tokens]
    return gather_corpus_facts(store, made.index, with_drops(store, parts), recipe_name, tokens)


def _draw(curves: Curves, facts: RunFacts, corpus: CorpusFacts) -> Pictures:
    # these load matplotlib, which runs that reuse all do without
    from tasks.corpus_pictures import draw_waterfall
    from tasks.pictures import draw_bits_per_byte, draw_loss

    pictures: Pictures = {}
    if corpus.all.steps:
        pictures["waterfall"] = {"light": draw_waterfall(corpus, "light"), "dark": draw_waterfall(corpus, "dark")}
    if curves.train or curves.validation:
        pictures["loss"] = {"light": draw_loss(curves, "light"), "dark": draw_loss(curves, "dark")}
    if curves.bits_per_byte:
        scored = facts.evaluation
        whole = (scored["bits_per_byte"], *scored["bits_per_byte_interval"]) if scored else None
        pictures["bits_per_byte"] = {
            "light": draw_bits_per_byte(curves, whole, "light"),
            "dark": draw_bits_per_byte(curves, whole, "dark"),
        }
    return pictures
