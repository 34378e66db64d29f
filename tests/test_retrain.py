"""Retraining as a text grows: real flows, real models of a few thousand weights, the commands as they are typed."""

import json
import os
import random
import sys

import pytest

from data.store import Store
from flows.cli import app, run_app
from tasks.champions import read_champions
from tests.quizzes import COUNT, write_items

pytestmark = pytest.mark.usefixtures("flow_server")

WORDS = ["the", "cat", "dog", "sees", "a", "house", "tree", "and", "runs", "to", "under", "blue", "green", "river"]
SETTINGS = {
    "split": {"min_passages": 30, "passage_bytes": 200, "max_whole_bytes": 400},
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
    "model": {"layers": 1, "width": 16, "heads": 1, "context": 16},
    "training": {"steps": 20, "batch_size": 4},
    "sampling.tokens": 4,
    "evaluation.resamples": 10,
    "retrain.memorisation_samples": 0,
    "retrain.margin": 0.2,  # after so few steps a model may well lose a little
}


class Growing:
    """A folder of texts and a store, and `textmill retrain` on both."""

    def __init__(self, folder):
        self.texts, self.store = folder / "texts", Store(folder / "store")
        self.texts.mkdir()

    def add(self, first, last, words=WORDS):
        for number in range(first, last):
            draw = random.Random(number)
            lines = (" ".join(draw.choice(words) for _ in range(14)) for _ in range(40))
            (self.texts / f"{number:03d}.txt").write_text("\n".join(lines))

    def command(self, *arguments):
        """The exit code of a command in this process."""
        before, argv = dict(os.environ), sys.argv
        os.environ |= {"TEXTMILL_STORE": str(self.store.root), "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
        sys.argv = ["textmill", *arguments]
        try:
            return run_app(app)
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ |= before

    def retrain(self, capfd, *arguments, **changes):
        """The last line of the command as JSON."""
        settings = [f"--set={name}={json.dumps(value)}" for name, value in (SETTINGS | changes).items()]
        capfd.readouterr()
        code = self.command(
            "retrain", "folder", f"--path={self.texts}", "--device=cpu", "--json", *settings, *arguments
        )
        out, err = capfd.readouterr()
        assert code == 0, err
        return json.loads(out.splitlines()[-1])

    @property
    def registry(self):
        return read_champions(self.store.refs, "folder")


def test_a_first_model_then_nothing_new_then_a_challenger(tmp_path, capfd):
    growing = Growing(tmp_path)
    growing.add(0, 12)
    write_items(tmp_path / "quiz.jsonl")
    quiz = {"evaluation.benchmarks": {"quiz": {"path": str(tmp_path / "quiz.jsonl"), "form": "hellaswag"}}}
    first = growing.retrain(capfd, **quiz)
    assert (first["outcome"], first["reasons"], first["decision"]) == ("promoted", ["first"], 1)
    score = first["metrics"]["benchmarks"]["quiz"]
    assert (score["items"], score["chance"]) == (COUNT, 0.25) and 0 <= score["accuracy_norm"] < 0.6
    left_out = f"benchmark quiz: 1 line was left out as no usable item: line {COUNT + 1}: "
    assert [note.startswith(left_out) for note in first["notes"] if "quiz" in note] == [True]
    page = growing.store.path(growing.store.resolve(first["artifacts"]["report"][0]))
    assert json.loads((page / "facts.json").read_text())["scores"] == {"quiz": score}
    assert f"<td>{100 * score['accuracy_norm']:.1f}%</td>" in (page / "observed" / "report.html").read_text()
    assert first["champion"] == first["artifacts"]["model"][0] and first["challenger"] is None
    assert first["metrics"]["val_bpb"] > 0

    again = growing.retrain(capfd)
    assert (again["outcome"], again["artifacts"], again["champion"]) == ("nothing_new", {}, first["champion"])
    assert again["total_seconds"] < 10
    assert len(growing.registry.history) == 1

    growing.add(12, 24)
    second = growing.retrain(capfd, **quiz)
    assert second["outcome"] == "promoted", second["reasons"]
    assert any("12 items more" in note for note in second["notes"])
    assert any(f"Warm start from {first['champion']}: 10 steps of 20" in note for note in second["notes"])
    assert second["artifacts"]["tokenizer"] == first["artifacts"]["tokenizer"], "pinned"
    decision = growing.registry.history[-1]
    assert decision.run and decision.run != growing.registry.history[0].run, "which flow run decided"
    frozen = next(check for check in decision.scores["checks"] if check["kind"] == "frozen")
    assert frozen["passages"] >= 30 and frozen["before"] == pytest.approx(first["metrics"]["val_bpb"], abs=1e-6)
    assert 1 < frozen["documents"] <= 12 < frozen["passages"], "a document is held out in several passages"
    assert decision.corpus["index"] == second["artifacts"]["corpus"][-1]
    assert second["metrics"]["champion_benchmarks"] == {"quiz": score}
    (check,) = decision.scores["benchmarks"]
    assert (check["before"], check["result"]) == (score["accuracy_norm"], "not judged"), "100 items are needed"
    assert growing.command("models", "folder") == 0
    out = capfd.readouterr().out
    assert f"   1  benchmark quiz: {score['accuracy_norm']:.1%} length-normalised accuracy" in out
    assert f"   2  benchmark quiz: {check['before']:.1%} -> {check['value']:.1%} length-normalised" in out


@pytest.mark.long
def test_three_generations_one_of_which_the_gate_keeps_out(tmp_path, capfd):
    growing = Growing(tmp_path)
    growing.add(0, 12)
    tested = {"retrain.memorisation_samples": 50}
    first = growing.retrain(capfd, **tested)

    (growing.texts / "900.txt").write_text((growing.texts / "000.txt").read_text())
    copied = growing.retrain(capfd, **tested)
    assert (copied["outcome"], copied["champion"]) == ("nothing_new", first["champion"]), "a copy is dropped"
    assert "leaves the corpus as it was" in copied["reasons"][0] and "model" not in copied["artifacts"]

    growing.add(12, 24)
    wild = tested | {"retrain.margin": 0.0, "training.learning_rate": 0.9, "retrain.rate_share": 1.0}
    kept = growing.retrain(capfd, **wild)
    assert kept["outcome"] == "kept" and "folder, frozen text" in kept["reasons"][0], kept["reasons"]
    assert (kept["champion"], kept["challenger"]) == (first["champion"], kept["artifacts"]["model"][0])
    assert growing.retrain(capfd, **wild)["outcome"] == "nothing_new", "what was kept out is not tried every night"

    third = growing.retrain(capfd, **tested | {"retrain.policy": "scratch"})
    assert third["outcome"] == "promoted", third["reasons"]
    assert third["artifacts"]["tokenizer"] != first["artifacts"]["tokenizer"]
    assert 0 <= third["metrics"]["champion_memorisation"] <= 1
    history = growing.registry.history
    assert [one.outcome for one in history] == ["promoted", "kept", "promoted"]
    scored = [check["before"] for check in history[2].scores["checks"] if check["kind"] == "frozen"]
    assert scored == pytest.approx([first["metrics"]["val_bpb"]], abs=1e-6), "of its own tokens, on the same text"

    assert growing.command("generate", "--model=champion:folder", "--tokens=2") == 0
    assert growing.command("rollback", "folder", "--reason=a test") == 0
    assert str(growing.registry.champion) == first["champion"]
    growing.store.remove(growing.registry.champion)
    anew = growing.retrain(capfd, **tested | {"retrain.policy": "scratch"})
    assert anew["outcome"] == "promoted" and anew["reasons"] == [f"{first['champion']}, the champion, is gone"]
    assert anew["cached"]["model"], "the third, which is still there"
    assert growing.retrain(capfd, **tested | {"retrain.policy": "scratch"})["outcome"] == "nothing_new"


@pytest.mark.long
def test_a_takedown_replaces_the_champion(tmp_path, capfd):
    growing = Growing(tmp_path)
    growing.add(0, 16)
    first = growing.retrain(capfd)
    assert growing.command("forget", "--document", "003.txt") == 0
    second = growing.retrain(capfd)
    assert second["outcome"] == "promoted" and second["reasons"][0].startswith("takedown: the champion learnt")
    assert any("From scratch, as the champion learnt from text" in note for note in second["notes"])
    assert second["champion"] != first["champion"]
    assert growing.retrain(capfd)["outcome"] == "nothing_new"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--runner=horses"], "--runner is 'horses'"),
        (["--runtime=workers=0"], "In --runtime"),
        (["--runtime=dask_address=5", "--dask-address=tcp://127.0.0.1:1"], "In --runtime"),
    ],
)
def test_where_it_runs_is_said_as_for_a_run(tmp_path, capfd, arguments, complaint):
    assert Growing(tmp_path).command("retrain", "folder", f"--path={tmp_path}", *arguments) == 2
    assert complaint in capfd.readouterr().err
