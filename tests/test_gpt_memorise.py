"""Going on verbatim: windows cut by hand, and the one pass against decoding token by token."""

import json

import numpy as np
import pytest
import torch

from gpt.errors import GPTError
from gpt.generate import decode
from gpt.jobs import MemorisationJob, ShardPaths, SourceArrays
from gpt.memorise import are_verbatim, cut_window, draw_windows, memorise
from tests.gpt_toys import EOT, VOCAB, random_model, shard, tiny_model, write_arrays

CPU = torch.device("cpu")


def job(tmp_path, **changes):
    names = {"model_dir": tmp_path, "token_bytes": tmp_path / "token_bytes.npy", "out": tmp_path / "out"}
    return MemorisationJob(**names, sources=changes.pop("sources", {}), eot_id=EOT, **changes)


def test_windows_reach_the_bytes_with_whole_ids(tmp_path):
    token_bytes = np.array([0, 1, 2, 3])
    wanted = job(tmp_path, prefix_bytes=4, span_bytes=3)
    ids = np.array([1, 3, 3, 2, 2, 1, 1], np.uint16)  # 1, 4, 7, 9, 11, 12, 13 bytes
    assert [*map(list, [cut_window(ids, token_bytes, wanted, 16)[0]])] == [[1, 3, 3]]
    assert cut_window(ids, token_bytes, wanted, 16)[1] == 1, "the third id alone has the three bytes of the span"
    longer, span = cut_window(ids, token_bytes, job(tmp_path, prefix_bytes=5, span_bytes=3), 16)
    assert (list(longer), span) == ([1, 3, 3, 2, 2], 2), "both round up"
    cut, span = cut_window(ids, token_bytes, job(tmp_path, prefix_bytes=5, span_bytes=3), 3)
    assert (list(cut), span) == ([3, 3, 2, 2], 2), "what the context cannot hold goes at the beginning"
    assert cut_window(ids, token_bytes, job(tmp_path, prefix_bytes=11, span_bytes=3), 16) is None
    assert cut_window(ids, token_bytes, job(tmp_path, prefix_bytes=13, span_bytes=1), 16) is None
    assert cut_window(ids[:0], token_bytes, wanted, 16) is None


def test_places_lie_within_documents(tmp_path):
    texts = [[EOT, *([number] * 30)] for number in range(1, 11)]
    token_bytes = np.ones(VOCAB, np.int64)
    windows = draw_windows([shard(texts[:4]), shard([]), shard(texts[4:])], token_bytes,
                           job(tmp_path, samples=200, prefix_bytes=5, span_bytes=5), 64)  # fmt: skip
    assert 100 < len(windows) < 200, "a third of the places are too near to the end of a document"
    assert all(len(ids) == 10 and span == 5 and len(set(ids.tolist())) == 1 for ids, span in windows)
    assert {int(ids[0]) for ids, _ in windows} == set(range(1, 11))
    assert draw_windows([], token_bytes, job(tmp_path), 64) == []


def test_one_pass_finds_what_greedy_decoding_would_write():
    model = random_model(tiny_model(context=32)).eval()
    prompts = [[EOT, *np.random.default_rng(seed).integers(1, VOCAB, 6).tolist()] for seed in range(12)]
    steps = list(decode(model, prompts, 5, 0.0, 0, 1.0, [1] * len(prompts), EOT))
    written = [[*prompt, *(step[row] for step in steps)] for row, prompt in enumerate(prompts)]
    texts = [np.array(text) for text in written if None not in text]  # those that did not end their document
    assert len(texts) >= 4
    assert are_verbatim(model, [(text, 5) for text in texts], CPU) == len(texts)
    for place in range(-5, 0):  # another id anywhere in the span
        other = [text.copy() for text in texts]
        for text in other:
            text[place] = text[place] % (VOCAB - 1) + 1
        assert are_verbatim(model, [(text, 5) for text in other], CPU) == 0
    mixed = [(texts[0], 5), (other[1], 5), (texts[2][:-2], 3), (other[3], 5)]  # of unequal lengths
    assert are_verbatim(model, mixed, CPU) == 2


def test_a_masked_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gpt.memorise.load_model", lambda *_: random_model(tiny_model(objective="masked")))
    with pytest.raises(GPTError, match="masked model goes on with nothing"):
        memorise(job(tmp_path), lambda note: None)


def test_the_result_is_written_for_whole_sources(tmp_path, monkeypatch):
    monkeypatch.setattr("gpt.memorise.load_model", lambda *_: random_model(tiny_model()))
    np.save(tmp_path / "token_bytes.npy", np.ones(VOCAB, np.int64))
    paths = write_arrays(tmp_path, "train", [[EOT, *range(1, 40)]] * 9)
    pair = ShardPaths(*(tmp_path / f"train{end}" for end in (".npy", ".documents.npy")))
    assert str(pair.tokens) == paths["tokens"]
    wanted = job(tmp_path, sources={"a": SourceArrays(train=(pair,))}, prefix_bytes=8, span_bytes=4, samples=50)
    result = memorise(wanted, lambda note: None)
    assert json.loads((tmp_path / "out" / "memorisation.json").read_text()) == result
    assert 0 < result["places"] <= 50 and result["share"] == result["verbatim"] / result["places"]
