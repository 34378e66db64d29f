"""The command line as a user types it: real processes, exit codes, one line for what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.sources.registry import source_kinds
from flows.cli import app, run_app
from flows.recipe import read_recipe

ROOT = Path(__file__).parents[1]


def textmill(*arguments, store, **environment):
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        capture_output=True,
        text=True,
        cwd=store.parent,
        env={**os.environ, "TEXTMILL_STORE": str(store), **environment},
        timeout=240,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "nosuch"], 2, ["nosuch", "python-docs", "folder"]),
        (["run", "foldr"], 2, ["foldr", "did you mean folder?"]),
        (["run", "folder", "books"], 2, ["books", "--path", "--set"]),
        (["run", "python-docs", "--until", "modle"], 2, ["modle", "did you mean model?", "raw", "report"]),
        (["run", "python-docs", "--refresh", "modle"], 2, ["modle", "raw", "report"]),
        (["run", "python-docs", "--set", "training.stepz=3"], 2, ["training.stepz", "training.steps"]),
        (["run", "python-docs", "--set", "training.steps=many"], 2, ["training.steps", "many"]),
        (["run", "python-docs", "--set", "training"], 2, ["KEY=JSON"]),
        (["run", "python-docs", "--set", "sources={oops"], 2, ["sources", "JSON"]),
        (["run", "python-docs", "--set", 'model={"width":128,"heads":3}'], 2, ["heads is 3", "width is 128"]),
        (["run", "python-docs", "--path", "books"], 2, ["--path", "python-docs", "textmill run folder"]),
        (["run", "python-docs", "--device", "tpu"], 2, ["tpu", "cuda"]),
        (["retrain", "nosuch"], 2, ["nosuch", "python-docs"]),
        (["retrain", "python-docs", "--refresh", "modle"], 2, ["modle", "did you mean model?"]),
        (["retrain", "python-docs", "--set", "retrain.margn=1"], 2, ["retrain.margn", "did you mean retrain.margin"]),
        (["retrain", "python-docs", "--set", "retrain.rate_share=0"], 2, ["retrain.rate_share", "greater than 0"]),
        (["plan", "nosuch"], 2, ["nosuch", "python-docs"]),
        (["plan", "python-docs", "--device", "tpu"], 2, ["tpu", "cuda"]),
        (["plan", "sherlock", "--set", "plan.depth=4"], 2, ["depth", "minutes", "only one"]),
        (["plan", "sherlock", "--set", 'plan={"parameters":"ten"}'], 2, ["parameters", "ten", "10M"]),
        (["run", "python-docs", "--nonsense"], 2, ["--nonsense"]),
        (["run"], 2, ["Missing argument", "textmill run"]),
        (["nosuch"], 2, ["nosuch"]),
        (["show", "model/none"], 1, ["model/none", "textmill ls"]),
        (["why", "ab", "cd"], 1, ["ab"]),
        (["ls", "modle"], 2, ["modle", "model"]),
        (["sources", "nosuch"], 2, ["nosuch", *source_kinds()]),
        (["generate"], 1, ["no model", "textmill run"]),
        (["generate", "--model", "abc"], 1, ["abc"]),
        (["ui", "--port", "0"], 2, ["--port", "65535"]),
    ],
)
def test_wrong_usage_is_one_clear_line(arguments, code, words, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")
    assert run_app(app) == code
    out, err = capfd.readouterr()
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "store").exists(), "a refused command leaves nothing behind"


def test_recipes_are_listed_with_what_they_are(tmp_path):
    done = textmill("recipes", store=tmp_path / "store")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    books = ["tiny-shakespeare", "sherlock", "gutenberg", "novels"]
    hub = ["wikipedia", "wikipedia-dump", "bookcorpus", "openwebtext", "fineweb"]
    assert names == ["python-docs", "folder", *books, *hub, "discord", "discord-api", "reddit"]


def test_sources_are_listed_with_an_example_that_a_recipe_takes(tmp_path):
    done = textmill("sources", store=tmp_path / "store")
    assert done.returncode == 0, done.stderr
    blocks = done.stdout.split("\n\n")[0].splitlines()
    kinds = [line for line in blocks if not line.startswith(" ")]
    assert kinds == list(source_kinds())
    for line in blocks:
        if line.startswith("  example "):
            read_recipe({"sources": {"mine": json.loads(line.removeprefix("  example "))}}, "an example")


def test_help_explains_every_option(tmp_path):
    done = textmill("run", "--help", store=tmp_path / "store")
    assert done.returncode == 0
    for word in ("--set", "--refresh", "--until", "--json", "--path", "--device"):
        assert word in done.stdout
