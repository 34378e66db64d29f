"""What a decision leaves in Prefect: a markdown artifact with the scores of both models, and how they came to be.

Prefect is a guest here: when it does not take the card, the decision stands, and `textmill models NAME` shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from prefect.artifacts import create_markdown_artifact

from tasks.benchmark_gate import BenchmarkCheck
from tasks.benchmarks import read_results
from tasks.champions import Champions, Decision
from tasks.gate import Verdict
from tasks.markdown import code, plain, table
from tasks.progress import run_logger
from tasks.report_facts import Made, read_evaluation
from tasks.report_page import data_url
from tasks.run import Run
from tasks.run_card import MAX_PICTURE_BYTES, card_key

SHOWN_DECISIONS = 20
DRAWN_DECISIONS = 60
BENCHMARK_HEAD = ("Benchmark", "Items", "Champion", "Challenger", "Difference (95%)", "Result")
SCORE_HEAD = ("Source", "Text", "Passages", "Champion", "Challenger", "Difference (95%)", "Result")


def scores_json(run: Run, made: Made, verdict: Verdict | None) -> dict[str, Any]:
    """The `scores` of a decision.

    val_bpb       bits per byte of the challenger on all held-out text, None without any
    totals        by kind of text, and for `all`: challenger and champion
    checks        the fields of each `gate.Check`
    memorisation  shares of challenger and champion
    benchmarks    the fields of each `benchmark_gate.BenchmarkCheck`; absent without any
    scored        content of the challenger's benchmark.json by the benchmark's name; absent without any
    """
    scored = read_evaluation(run.store, made.evaluation) or {}
    found: dict[str, Any] = {"val_bpb": scored.get("bits_per_byte")}
    if verdict is not None:
        found["totals"] = {kind: list(pair) for kind, pair in verdict.totals.items()}
        found["checks"] = [asdict(check) for check in verdict.checks]
        found["memorisation"] = verdict.memorisation.shares()
        found |= {"benchmarks": [check.to_json() for check in verdict.benchmarks]} if verdict.benchmarks else {}
    if made.benchmarks:
        found["scored"] = read_results(run.store, made.benchmarks)
    return found


def publish_decision_card(run: Run, champions: Champions) -> None:
    """Leave the card of the newest decision in Prefect; a failure is only logged."""
    try:
        card = decision_card(champions, _picture(champions))
        key = card_key(run.recipe_name, "decision")
        create_markdown_artifact(card, key=key, description=f"Newest decision about {run.recipe_name}")
    except Exception as error:  # whatever Prefect's client raises: the decision is made, and stays made
        run_logger().warning("The decision card could not be left in Prefect (%s: %s).", type(error).__name__, error)


def decision_card(champions: Champions, picture: bytes | None) -> str:
    """The newest decision and those before it, as markdown; `picture` is a PNG."""
    newest = champions.history[-1]
    parts = [
        f"# {plain(champions.recipe)}: {newest.outcome}",
        f"Champion: {code(str(champions.champion))}, before: {code(str(newest.before or 'none'))}",
        "\n".join(f"- {plain(reason)}" for reason in newest.reasons),
        _scores(newest.scores),
        f"![Bits per byte over decisions]({data_url(picture)})" if picture else "",
        "## Decisions\n\n" + _history(champions.history[-SHOWN_DECISIONS:]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scores(scores: Mapping[str, Any]) -> str:
    lines = []
    if scores.get("checks"):
        lines.append(table(SCORE_HEAD, [score_row(check) for check in scores["checks"]], texts=(1, 6)))
    shares = scores.get("memorisation") or {}
    if shares.get("value") is not None:
        before = "not measured" if shares.get("before") is None else f"{shares['before']:.1%}"
        lines.append(
            f"Goes on verbatim at {shares['value']:.1%} of places in its training text; the champion: {before}."
        )
    if scores.get("benchmarks"):
        rows = [benchmark_row(BenchmarkCheck(**check)) for check in scores["benchmarks"]]
        lines.append("Length-normalised accuracy on benchmarks (plain in brackets):")
        lines.append(table(BENCHMARK_HEAD, rows, texts=(5,)))
    return "\n\n".join(lines)


def benchmark_row(check: BenchmarkCheck) -> tuple[str, ...]:
    """One comparison in the columns of `BENCHMARK_HEAD`."""
    interval = "-"
    if check.low is not None and check.high is not None:
        interval = f"{100 * check.low:+.1f} to {100 * check.high:+.1f} points"
    before, value = (
        f"{normalised:.1%} ({share:.1%})"
        for normalised, share in ((check.before, check.accuracy_before), (check.value, check.accuracy))
    )
    return (plain(check.benchmark), f"{check.items:,}", before, value, interval, check.result)


def score_row(check: Mapping[str, Any]) -> tuple[str, ...]:
    """One comparison in the columns of `SCORE_HEAD`."""
    interval = "-" if check["low"] is None else f"{check['low']:+.4f} to {check['high']:+.4f}"
    numbers = (f"{check['passages']:,}", f"{check['before']:.4f}", f"{check['value']:.4f}", interval)
    return (plain(check["source"]), check["kind"], *numbers, check["result"])


def _history(history: Sequence[Decision]) -> str:
    rows = [
        (str(one.number), one.date, one.outcome, code(str(one.model)), plain(one.reasons[0] if one.reasons else ""))
        for one in reversed(history)
    ]
    return table(("Decision", "Date", "Outcome", "Model", "First reason"), rows, texts=(1, 2, 3, 4))


def _picture(champions: Champions) -> bytes | None:
    from tasks.decision_picture import draw_decisions  # matplotlib takes a second to load

    drawn = draw_decisions(champions.history[-DRAWN_DECISIONS:])
    return drawn if len(drawn) <= MAX_PICTURE_BYTES else None
