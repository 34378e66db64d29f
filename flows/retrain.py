"""Training again as the text grows: look, and where anything is new, train a challenger and let the gate decide."""

from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect import runtime as prefect_runtime

from data.manifest import ArtifactRef
from flows.corpus import build_corpus
from flows.glance import NOTHING, TAKEN_DOWN, Glance, glance_at, summary_of
from flows.recipe import Recipe
from flows.start import TASK_RUNNER, start_run
from flows.training import build_model, weighted_arrays
from gpt.sizing import PlanConfig
from tasks.benchmark_gate import BenchmarkCheck, compare_all
from tasks.benchmarks import Scored, read_all, read_answers, read_results, score_benchmarks
from tasks.champions import Champions, read_champions, write_champions
from tasks.comparing import compare_on_held_out, memorisation, memorisation_of_champion, tokenizer_of
from tasks.corpus_drift import find_drift
from tasks.corpus_parts import read_slots
from tasks.decision_card import publish_decision_card, scores_json
from tasks.events import tell
from tasks.gate import Memorisation, Verdict, judge
from tasks.plan import plan
from tasks.prepared import Prepared
from tasks.registry import Stage
from tasks.report_facts import Made
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.sources import look_at_all
from tasks.training import starting_shape
from tasks.warm_start import gentler, why_from_scratch


@flow(flow_run_name="retrain {recipe.name}", task_runner=TASK_RUNNER, persist_result=False)
def retrain(
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen; Prefect shows it as the form's defaults
    overrides: dict[str, Any] = {},  # noqa: B006 - the same
    refresh: list[Stage] = [],  # noqa: B006 - the same
    runtime: Runtime = Runtime(),  # noqa: B008 - the same
    again: bool = False,
) -> dict[str, Any]:
    """Look for new text; if there is any, train a challenger and let it replace the champion where the gate allows it.

    Args:
        recipe: Everything that changes the result.
        overrides: Settings to replace, by dotted name, for example {"retrain.margin": 0.02}.
        refresh: Stages to build again even where their artifacts exist.
        runtime: Where and how fast; changes no result.
        again: Train and decide also when nothing is new, as `refresh` does, too.
    """
    recipe, run = start_run(recipe, overrides, refresh, None, runtime)
    champions = read_champions(run.store.refs, recipe.name)
    if _has_decided(champions):
        with run:
            summary = _tell(run, champions)
        return summary  # noqa: RET504 - the run ends in between
    glance = glance_at(run, recipe, look_at_all)
    again = again or bool(refresh)
    if not glance.news and not again:
        return summary_of(run, glance.champions, "nothing_new", [NOTHING])
    with run:
        run.use(*filter(None, [glance.champions.champion]))
        summary = _retrain(run, recipe, glance, again)
    return summary  # noqa: RET504 - the run ends in between


def _retrain(run: Run, recipe: Recipe, glance: Glance, again: bool) -> dict[str, Any]:
    """Build the corpus, train the challenger and decide; the decision is one write, and the last thing that is made."""
    champions, champion = glance.champions, glance.champion
    run.notes += [f"new: {one}" for one in glance.news]
    warm = _warm(run, recipe, champion)
    prepared = build_corpus(run, warm or recipe, glance.looked)
    _tell_drift(run, recipe, prepared)
    seen = {**glance.seen, "corpus": prepared.index.digest}
    if champion and not again and TAKEN_DOWN not in glance.news and _is_as_before(champions.seen, seen):
        write_champions(run.store.refs, champions.having_seen(seen))
        return summary_of(run, champions, "nothing_new", ["what is new leaves the corpus as it was", *glance.news])
    if warm is not None:
        recipe = _with_gentler_plan(run, warm, prepared)
    made = build_model(run, recipe, prepared)
    if made.model == champion:
        write_champions(run.store.refs, champions.having_seen(seen))
        return summary_of(run, champions, "nothing_new", ["the training gives the champion again", *glance.news])
    decided_by = prefect_runtime.flow_run.id or ""
    corpus = {
        "index": str(prepared.index),
        "digest": prepared.index.digest,
        "sources": glance.seen["sources"],
        "news": glance.news,
    }
    if champion is None:
        basis = {"corpus": corpus, "scores": scores_json(run, made, None), "run": decided_by}
        reason = f"{champions.champion}, the champion, is gone" if champions.champion else "first"
        return _decide(run, champions.promoted(made.model, (reason,), **basis), seen)
    verdict = _judge(run, recipe, prepared, made, champion)
    basis = {"corpus": corpus, "scores": scores_json(run, made, verdict), "run": decided_by}
    if TAKEN_DOWN in glance.news:
        reasons = (f"takedown: {TAKEN_DOWN}", *verdict.reasons)
        return _decide(run, champions.promoted(made.model, reasons, **basis), seen)
    decide = champions.promoted if verdict.promote else champions.kept
    return _decide(run, decide(made.model, verdict.reasons, **basis), seen)


def _warm(run: Run, recipe: Recipe, champion: ArtifactRef | None) -> Recipe | None:
    """The recipe with the champion's weights to begin with and its tokenizer pinned; None: begin from scratch."""
    if champion is None or recipe.retrain.policy == "scratch":
        return None
    reason = why_from_scratch(run.store, champion, recipe.model, recipe.tokenizer, recipe.split)
    if reason:
        run.notes.append(f"From scratch, as {reason}.")
        return None
    pinned = recipe.tokenizer.model_copy(
        update={"kind": "artifact", "artifact": str(tokenizer_of(run.store, champion)), "vocab_size": None}
    )
    dial = PlanConfig(minutes=recipe.plan.minutes)  # the champion has its size
    return recipe.model_copy(update={"init_from": str(champion), "tokenizer": pinned, "plan": dial})


def _with_gentler_plan(run: Run, recipe: Recipe, prepared: Prepared) -> Recipe:
    """The recipe of a warm start with fewer steps and lower rates than its plan from scratch."""
    arrays = weighted_arrays(recipe, prepared)
    shaped = starting_shape(run, recipe.model, recipe.init_from, arrays.tokenizer)
    full = plan(run, arrays, recipe.model, recipe.training, recipe.plan, recipe.tokenizer, recipe.name, shaped)
    training = gentler(recipe.training, full.training, recipe.retrain)
    run.notes.append(
        f"Warm start from {recipe.init_from}: {training.steps} steps of {full.training.steps} from scratch, rates x "
        f"{recipe.retrain.rate_share:g}."
    )
    return recipe.model_copy(update={"training": training, "plan": PlanConfig()})


def _judge(run: Run, recipe: Recipe, prepared: Prepared, made: Made, champion: ArtifactRef) -> Verdict:
    arrays = weighted_arrays(recipe, prepared)
    config, challenger = recipe.evaluation.config(), made.model
    pairs = compare_on_held_out(run, challenger, champion, arrays, prepared.shards, config, recipe.name)
    value = memorisation(run, challenger, arrays, recipe.retrain, recipe.name)
    before = memorisation_of_champion(run, champion, recipe.retrain, recipe.name) if value is not None else None
    memorised = Memorisation(value, before)
    benchmarks = _compare_on_benchmarks(run, recipe, made.benchmarks, champion)
    verdict = judge(pairs, memorised, recipe.retrain, benchmarks)
    ours, theirs = verdict.totals.get("all", (None, None))
    run.metrics |= {"challenger_bpb": ours, "champion_bpb": theirs}
    shares = memorised.shares()
    run.metrics |= {"challenger_memorisation": shares["value"], "champion_memorisation": shares["before"]}
    return verdict


def _compare_on_benchmarks(
    run: Run, recipe: Recipe, scored: Scored, champion: ArtifactRef
) -> tuple[BenchmarkCheck, ...]:
    """Challenger (`scored`) and champion on the same items, each in tokens of its own."""
    tokenizer = tokenizer_of(run.store, champion)
    if not scored or tokenizer is None:
        return ()
    asked = read_all(run, recipe.evaluation.placed(recipe.decontamination))
    before = score_benchmarks(run, champion, tokenizer, asked, recipe.name)
    if before:
        run.metrics["champion_benchmarks"] = read_results(run.store, before)
    return compare_all(read_answers(run.store, scored), read_answers(run.store, before), recipe.retrain)


def _decide(run: Run, champions: Champions, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Write the decision, then tell of it: a run that is killed in between tells when it is started again."""
    write_champions(run.store.refs, champions.having_seen(seen))
    return _tell(run, champions)


def _has_decided(champions: Champions) -> bool:
    """Whether the newest decision is that of this very flow run, which was killed afterwards and started again."""
    flow_run = prefect_runtime.flow_run.id
    return bool(flow_run and champions.history and champions.history[-1].run == flow_run)


def _tell(run: Run, champions: Champions) -> dict[str, Any]:
    """Card and event of the newest decision; returns the summary."""
    decision = champions.history[-1]
    publish_decision_card(run, champions)
    event = {"model": str(decision.model), "before": str(decision.before or ""), "reasons": list(decision.reasons)}
    tell("model.promoted" if decision.outcome == "promoted" else "model.kept", champions.recipe, **event)
    return summary_of(run, champions, decision.outcome, decision.reasons, decision)


def _tell_drift(run: Run, recipe: Recipe, prepared: Prepared) -> None:
    drift = find_drift(run.store, prepared.index, read_slots(run.store, prepared.index), recipe.name)
    if drift.jumps:
        jumps = [str(jump) for jump in drift.jumps]
        run.notes += [f"drift: {jump}" for jump in jumps]
        tell("corpus.drift", recipe.name, corpus=str(prepared.index), jumps=jumps)


def _is_as_before(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Whether the corpus came out as it was at the last decision, and the settings are what they were."""
    return before is not None and all(before.get(name) == now[name] for name in ("corpus", "settings"))
