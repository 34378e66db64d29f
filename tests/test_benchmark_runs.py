"""Benchmarks through the commands: a model is scored, and one that answers worse than the champion is kept out."""

import json

import numpy as np
import pytest

from tasks.decision_card import decision_card
from tests.quizzes import COUNT, write, write_items
from tests.test_retrain import Growing

pytestmark = pytest.mark.usefixtures("flow_server")


@pytest.mark.long
def test_a_challenger_that_answers_worse_than_the_champion_is_kept_out(tmp_path, capfd):
    growing, path = Growing(tmp_path), tmp_path / "quiz.jsonl"
    growing.add(0, 12)
    items = write_items(path)
    given = {
        "evaluation.benchmarks": {"quiz": {"path": str(path), "form": "hellaswag"}},
        "retrain.min_items": COUNT // 2,
        "retrain.benchmark_margin": 0.0,
        "retrain.policy": "scratch",
        "retrain.margin": 1.0,
    }
    first = growing.retrain(capfd, **given)
    score = first["metrics"]["benchmarks"]["quiz"]
    assert (score["items"], score["chance"]) == (COUNT, 0.25)
    assert score["accuracy_norm_interval"][0] <= score["accuracy_norm"] <= score["accuracy_norm_interval"][1]
    assert any(
        f"benchmark quiz: 1 line was left out as no usable item: line {COUNT + 1}: " in one for one in first["notes"]
    )
    assert len(first["artifacts"]["evaluation"]) == 2
    page = growing.store.path(growing.store.resolve(first["artifacts"]["report"][0]))
    assert json.loads((page / "facts.json").read_text())["scores"] == {"quiz": score}
    assert f"<td>{100 * score['accuracy_norm']:.1f}%</td>" in (page / "observed" / "report.html").read_text()

    # the items again, each with the answer that the champion gives: it knows them all
    scored = growing.store.path(growing.store.resolve(first["artifacts"]["evaluation"][1]))
    nats = np.load(scored / "endings.npy").reshape(COUNT, 4)
    sizes = [[len(ending.encode()) for ending in item["endings"]] for item in items]
    chosen = (nats / sizes).argmin(1).tolist()
    relabelled = [item | {"label": label} for item, label in zip(items, chosen, strict=True)]
    write(path, relabelled)
    growing.add(12, 20)
    second = growing.retrain(capfd, **given | {"training.seed": 9})
    shares = (second["metrics"][name]["quiz"]["accuracy_norm"] for name in ("champion_benchmarks", "benchmarks"))
    before, value = shares
    assert second["outcome"] == "kept", (before, value, second["reasons"])
    assert second["champion"] == first["champion"]
    (reason,) = second["reasons"]
    assert reason.startswith(f"benchmark quiz: {before:.1%} -> {value:.1%} length-normalised accuracy (-")
    assert before > 0.95 > value

    decision = growing.registry.history[-1]
    (check,) = decision.scores["benchmarks"]
    assert (check["benchmark"], check["value"], check["before"], check["result"]) == ("quiz", value, before, "worse")
    card = decision_card(growing.registry, None)
    assert f"| quiz | {COUNT} | {before:.1%} (" in card and "| worse |" in card
    assert growing.command("models", "folder") == 0
    out = capfd.readouterr().out
    assert f"   1  benchmark quiz: {score['accuracy_norm']:.1%} length-normalised accuracy" in out
    assert out.count(reason) == 1, "once, as a reason"
