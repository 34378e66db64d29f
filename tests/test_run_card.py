"""The run card and the metrics of a run, and that a run does not depend on whether Prefect takes the card."""

import base64
import logging
import re

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.report import LOSS_PICTURE, PAGE_FILE, report_unit
from tasks.run import StageRecord
from tasks.run_card import card_key, collect_metrics, publish_run_card, run_card
from tests.report_toys import EVIL, PARAMETERS, STEPS, toy_made, toy_run

FENCES = "a ```\n# fence\n````\n of backticks"


def report_of(run, made):
    unit = report_unit(run, made, {}, "toy")
    return run.store.build(
        unit.identity, unit.name, lambda b: unit.make(b, lambda done, total, kind, note="": None), unit.inputs
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    run = toy_run(tmp_path_factory.mktemp("card") / "store")
    made = toy_made(run, evil=FENCES)
    run.notes += [f"books: {EVIL}", *(f"books: file-{i}.bin is binary" for i in range(30))]
    run.records = {"raw": StageRecord([], 7, 1, 3.25), "model": StageRecord([], 0, 1, 75.0)}
    page = report_of(run, made)
    return run, made, page, run_card(run, page, made)


def test_the_card_holds_the_numbers_the_stages_and_where_things_lie(toy):
    run, made, page, card = toy
    assert card.startswith("# Toy recipe\n")
    assert "**1.877 bits per byte** on held-out text (95% interval 1.753 to 1.998)" in card
    assert f"| Parameters | {PARAMETERS:,} |" in card
    assert "| raw | 7 | 1 | 3.2 s |" in card and "| model | 0 | 1 | 1 min 15 s |" in card
    for path in (run.store.path(page) / PAGE_FILE, run.store.path(made.model), run.store.path(made.samples)):
        assert f"`{path}`" in card and path.exists()


def test_the_card_carries_the_loss_curve_of_the_report(toy):
    run, _, page, card = toy
    (encoded,) = re.findall(r"!\[[^\]]+\]\(data:image/png;base64,([^)]+)\)", card)
    assert base64.b64decode(encoded) == (run.store.path(page) / LOSS_PICTURE).read_bytes()
    assert len(card.encode()) < 300_000


def test_a_sample_cannot_leave_its_block(toy):
    block = toy[3].partition("## A sample\n\n")[2].partition("\n\n## Where")[0].split("\n")
    fence = block[0].removesuffix("text")
    assert fence == "`" * 5 and block[-1] == fence and "The miller" in block[1]
    assert not [line for line in block[1:-1] if line.startswith(fence)]


def test_notes_are_plain_text_and_not_without_end(toy):
    notes = toy[3].partition("## Notes\n\n")[2].splitlines()
    assert len(notes) == 21 and "more are in the report" in notes[-1]
    assert "<" not in notes[0] and "&lt;script" in notes[0] and "this run" in notes[0]
    assert "file-0.bin" in notes[1]


def test_a_card_without_score_and_curve_says_so(tmp_path):
    run = toy_run(tmp_path / "store")
    made = toy_made(run, scored=False, metrics=False)
    card = run_card(run, report_of(run, made), made)
    assert "The model was not scored" in card and "![" not in card
    metrics = collect_metrics(run.store, made.model, made.evaluation, made.tokens)
    assert metrics["val_bpb"] is None and metrics["val_loss"] is None and metrics["validation_tokens"] == 0


def test_metrics_are_those_of_the_payloads(toy):
    run, made = toy[:2]
    metrics = collect_metrics(run.store, made.model, made.evaluation, made.tokens)
    counts = run.store.manifest(made.tokens[0]).counts
    assert metrics["val_bpb"] == 1.8765 and metrics["val_bpb_interval"] == [1.7531, 1.9982]
    assert (metrics["val_loss"], metrics["perplexity"], metrics["train_loss"]) == (3.21, 24.779, 3.05)
    assert (metrics["parameters"], metrics["steps"], metrics["vocab_size"]) == (PARAMETERS, STEPS, 300)
    assert metrics["train_tokens_per_s"] == 512.5
    assert metrics["train_tokens"] == counts["train_tokens"] > 0
    assert metrics["validation_tokens"] == counts["validation_tokens"] > 0
    assert 1 < metrics["bytes_per_token"] < 20


@pytest.mark.parametrize(
    ("name", "key"),
    [("python-docs", "run-python-docs"), ("Größe 1_b!", "run-gr-e-1-b"), ("日本", "run"), ("-a--b-", "run-a-b")],
)
def test_keys_are_what_prefect_accepts(name, key):
    assert card_key(name) == key
    assert re.fullmatch(r"[a-z0-9-]+", key)


@pytest.mark.filterwarnings("ignore:Artifact creation outside")  # the flow around it is not what is tested
def test_a_run_goes_on_when_prefect_does_not_take_its_card(toy, caplog):
    run, made, page, _ = toy
    closed = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(closed), caplog.at_level(logging.WARNING, "textmill"):
        publish_run_card(run, page, made)
    (record,) = [record for record in caplog.records if record.name == "textmill"]
    assert "run card" in record.getMessage() and record.levelno == logging.WARNING
