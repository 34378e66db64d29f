"""The table of one card: the arithmetic behind it, its verdicts, the whole command at tiny size, and no card at all."""

import random
import sys
from pathlib import Path

import pytest
import torch

from gpt.bench import gpu
from gpt.bench.__main__ import main
from gpt.bench.table import Row, as_markdown, as_text
from gpt.config import ModelConfig, TrainingConfig
from gpt.flops import flops_per_token, peak_flops, utilisation
from gpt.plan import resolve


def test_flops_of_gpt2_by_hand():
    shape = resolve(gpu.GPT2_124M, TrainingConfig(), 50257, 10**9)[0]
    matrices = 12 * 12 * 768 * 768 + 50304 * 768  # 4 + 8 squares per layer, and the padded head
    assert flops_per_token(shape) == 6 * matrices + 12 * 12 * 768 * 1024
    # llm.c and nanoGPT give about 42% on an H100 for 490,000 tokens/s
    assert utilisation(490e3, shape, "NVIDIA H100 80GB HBM3") == pytest.approx(0.42, abs=0.005)
    assert utilisation(490e3, shape, "Somebody's card") is None


def test_the_goals_are_those_of_models_of_these_sizes():
    sizes = []
    for model in (gpu.GPT2_124M, gpu.GPT2_350M, gpu.MODERN_124M):
        shape = resolve(model, TrainingConfig(), 50257, 10**9)[0]
        sizes.append((flops_per_token(shape) - 12 * shape.layers * shape.width * shape.context) / 6e6)
    assert sizes == pytest.approx([124, 353, 124], abs=3)  # millions


@pytest.mark.parametrize(
    ("card", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("Tesla T4", 65),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("CPU, 2 threads", None),
    ],
)
def test_peaks_are_found_by_the_drivers_names(card, teraflops):
    assert peak_flops(card) == (None if teraflops is None else teraflops * 1e12)


def test_verdicts():
    def verdict(value, **more):
        return Row("a", value, "tokens/s", goal=490.0, excellent=560.0, **more).verdict

    assert [verdict(v) for v in (489.9, 490.0, 560.0, None)] == ["missed", "pass", "excellent", ""]
    assert verdict(None, missed=True) == "missed"
    below = [Row("b", v, "s", goal=30.0, excellent=10.0, lower=True).verdict for v in (9.9, 10.1, 30.1)]
    assert below == ["excellent", "pass", "missed"]
    assert Row("c", 5.0, "tokens/s").verdict == ""
    rows = [Row("a", 1234567.0, "tokens/s", mfu=0.4237, goal=490e3), Row("b", None, "s", remark="no text")]
    assert "| a | 1,234,567 tokens/s | 42.4% | 490,000 tokens/s |  | pass |  |" in as_markdown(rows)
    assert as_text(rows).splitlines()[2].startswith("b     -")


def test_without_a_card_it_is_one_line_and_code_1(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "cuda_failure", lambda: "torch finds no CUDA card or driver")
    assert main(["gpu"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("gpt.bench: No CUDA card to measure: torch finds no CUDA card or driver.")
    assert main(["gpu", "--device", "cpu"]) == 2
    assert "add --tiny" in capsys.readouterr().err


@pytest.fixture
def no_collecting(monkeypatch):
    """A test process keeps its garbage collector as it is."""
    monkeypatch.setattr("gc.freeze", lambda: None)


@pytest.mark.usefixtures("no_collecting")
def test_the_whole_table_at_tiny_size(tmp_path: Path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("".join(random.Random(1).choices("abcd", k=3000)))
    page = tmp_path / "gpu.md"
    assert main(["gpu", "--device", "cpu", "--tiny", "--text", str(text), "--write", str(page)]) == 0
    written, said = page.read_text(), capsys.readouterr().out
    for task in ("GPT-2 124M", "350M", "`modern` 124M", "Shakespeare to 1.4697", "plain matrix", "checkpoints"):
        assert task in written and task in said
    assert f"torch {torch.__version__}" in written and "this measures nothing" in written
    shakespeare = next(line for line in written.splitlines() if "Shakespeare to" in line)
    assert "1.4697 | " in shakespeare and "| excellent | loss 1.38" in shakespeare  # ln 4 is below the goal
    assert "nan" not in written and "inf" not in written


def test_with_torch_alone_only_the_row_of_checkpoints_is_missing(monkeypatch):
    readers = ("safetensors", "gpt.trainer", "gpt.checkpoint", "gpt.bench.overhead")
    for name in [name for name in sys.modules if name.startswith(readers)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "safetensors", None)  # as if it were not installed
    row = gpu.overhead(gpu.Scale(True, torch.device("cpu")), "overhead")
    assert (row.value, row.remark, row.verdict) == (None, "not measured: safetensors is not installed", "")


def test_what_does_not_fit_or_is_not_reached_is_said(tmp_path, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr(gpu, "speed", too_large)
    monkeypatch.setattr(gpu, "overhead", lambda scale, name: Row(name, 1.0, "%"))
    text = tmp_path / "text.txt"
    text.write_text("".join(random.Random(1).choices([chr(65 + i) for i in range(26)], k=3000)))
    rows = gpu.measure(gpu.Scale(True, torch.device("cpu"), rounds=1, round_steps=1), text, lambda line: None)
    assert [row.verdict for row in rows] == ["", "missed", "missed", "missed", "missed", "missed", ""]
    assert "does not fit" in rows[1].remark and "not reached: at best 3." in rows[5].remark
    without = gpu.time_to_loss(gpu.Scale(True, torch.device("cpu")), "a", None, 1.0)
    assert without.verdict == "" and "give --text" in without.remark


def test_a_micro_batch_that_is_too_large_is_halved_until_it_fits(monkeypatch):
    scale = gpu.Scale(True, torch.device("cpu"), rounds=1, round_steps=1)
    learner = gpu.random_learner(scale, ModelConfig(preset="gpt2"), None)
    honest = learner.loss_sum

    def loss_sum(ids, targets):
        if len(ids) > 1:
            raise torch.OutOfMemoryError("made up")
        return honest(ids, targets)

    learner.loss_sum = loss_sum
    monkeypatch.setattr(gpu, "random_learner", lambda *_: learner)
    assert "128 tokens a step, 1 sequences a pass" in gpu.speed(scale, "CPU", "a", gpu.GPT2_124M, None, None).remark
