"""The tokens stage: arrays against a slow loop over tiktoken, and what happens when gigatoken cannot be trusted."""

import sys
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward  # type: ignore[import-untyped]
import gigatoken
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.facts import Facts
from data.shards import ROW_GROUP_BYTES
from data.tokenizers.bulk import BulkEncoder, Encoded, ReferenceEncoder
from data.tokenizers.characters import character_vocabulary
from data.tokenizers.config import TokenizerError
from data.tokenizers.gigatoken_encoder import GigatokenEncoder, known_difference, note_difference
from data.tokenizers.load import load_tokenizer
from data.tokenizers.vocabulary import GPT4_PATTERN, Vocabulary
from data.tokens import ArrayFile, encode_slot, token_dtype, write_slot
from tests.tokenizer_examples import (
    ODD,
    SPECIAL,
    TOPICS,
    small_bpe,
    small_characters,
    tiktoken_peer,
    write_corpus,
    write_tokenizer,
)

TRAIN = [*TOPICS[:30], *ODD, *TOPICS[30:40], "".join(TOPICS[40:50])]
VALIDATION = [*ODD[::-1], TOPICS[50]]
FILES = ["train.documents.npy", "train.npy", "validation.documents.npy", "validation.npy"]


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bpe(tmp_path_factory.mktemp("bpe"))


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_characters(tmp_path_factory.mktemp("characters"))


@pytest.fixture(params=["bpe", "characters"])
def tokenizer(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), TRAIN, VALIDATION, row_group_bytes=30_000)


def slow_arrays(tokenizer: Path, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Tokens and offsets, one document after the other."""
    peer = tiktoken_peer(tokenizer)
    tokens: list[int] = []
    starts = []
    for text in texts:
        starts.append(len(tokens))
        tokens += [peer.eot_token, *peer.encode_ordinary(text)]
    return tokens, [*starts, len(tokens)]


def fresh(folder: Path, name: str = "out") -> Path:
    out = folder / name
    out.mkdir()
    return out


def check_arrays(out: Path, tokenizer: Path) -> None:
    for side, texts in (("train", TRAIN), ("validation", VALIDATION)):
        tokens = np.load(out / f"{side}.npy", mmap_mode="r")
        starts = np.load(out / f"{side}.documents.npy", mmap_mode="r")
        assert isinstance(tokens, np.memmap)
        assert (tokens.dtype, starts.dtype, tokens.ndim, starts.ndim) == (np.uint16, np.int64, 1, 1)
        wanted_tokens, wanted_starts = slow_arrays(tokenizer, texts)
        assert starts.tolist() == wanted_starts
        assert tokens.tolist() == wanted_tokens


@pytest.mark.parametrize("threads", [1, 3])
def test_arrays_are_those_of_a_slow_loop(tokenizer: Path, corpus: Path, tmp_path: Path, threads: int) -> None:
    facts = encode_slot(corpus, tokenizer, fresh(tmp_path), threads)
    check_arrays(tmp_path / "out", tokenizer)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert facts.notes == []
    assert facts.licences == ["CC0-1.0", "MIT"]
    for side, texts in (("train", TRAIN), ("validation", VALIDATION)):
        assert facts.counts[f"{side}_tokens"] == len(slow_arrays(tokenizer, texts)[0])
        assert facts.counts[f"{side}_documents"] == len(texts)
        assert facts.counts[f"{side}_bytes"] == sum(len(text.encode()) for text in texts)
        assert facts.counts[f"{side}_characters"] == sum(map(len, texts))


def test_the_special_id_stands_before_each_document_and_nowhere_else(
    tokenizer: Path, corpus: Path, tmp_path: Path
) -> None:
    assert sum(text.count(SPECIAL) for text in TRAIN) >= 4  # the text itself spells it
    encode_slot(corpus, tokenizer, fresh(tmp_path), 2)
    tokens, starts = np.load(tmp_path / "out" / "train.npy"), np.load(tmp_path / "out" / "train.documents.npy")
    assert np.flatnonzero(tokens == load_tokenizer(tokenizer).eot_id).tolist() == starts[:-1].tolist()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.one_of(st.text(max_size=30), st.sampled_from([SPECIAL, "don't  stop\n\n 12345", "\u088f\U0001f9ff 漢"])),
        max_size=8,
    )
)
def test_any_texts_are_encoded_in_bulk_as_one_by_one(bpe: Path, characters: Path, texts: list[str]) -> None:
    column = pa.array(["before", *texts, "after"], pa.string())[1:-1]  # a slice: its bytes do not begin at 0
    for folder in (bpe, characters):
        tokenizer = load_tokenizer(folder)
        wanted = [tiktoken_peer(folder).encode_ordinary(text) for text in texts]
        encoders: list[BulkEncoder] = [ReferenceEncoder(tokenizer)]
        if folder == bpe:
            encoders.append(GigatokenEncoder(bpe, tokenizer))
        for encoder in encoders:
            ids, offsets = encoder.encode(column)
            assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == wanted


def test_characters_that_only_newer_unicode_tables_know_are_encoded_alike(tmp_path: Path) -> None:
    """Whether a character is a letter or a digit decides where text is split. Here each answer gives other ids."""
    pairs = tuple(bytes([before, lead]) for before in b"x1!" for lead in range(0xC2, 0xF5))
    vocabulary = Vocabulary("bpe", GPT4_PATTERN, (*(bytes([byte]) for byte in range(256)), *pairs))
    folder = write_tokenizer(tmp_path, vocabulary)
    codes = [code for code in range(0x80, 0x110000) if unicodedata.category(chr(code)) == "Cn"][::97]
    codes += [code for code in range(0x80, 0x110000, 397) if not 0xD800 <= code < 0xE000]
    texts = [before + chr(code) for code in codes for before in "x1!"]
    ids, offsets = GigatokenEncoder(folder, load_tokenizer(folder)).encode(pa.array(texts))
    wanted = tiktoken_peer(folder).encode_ordinary_batch(texts)
    assert ids.tolist() == [i for row in wanted for i in row]
    assert np.diff(offsets).tolist() == list(map(len, wanted))


@pytest.mark.parametrize("present", [(), ("train",), ("validation",)])
def test_an_empty_side_gives_empty_arrays(bpe: Path, tmp_path: Path, present: tuple[str, ...]) -> None:
    texts = {"train": TRAIN[:3] if "train" in present else [], "validation": ODD if "validation" in present else []}
    corpus = write_corpus(tmp_path / "corpus", texts["train"], texts["validation"])
    assert sorted(path.stem for path in corpus.iterdir()) == sorted(present)
    facts = encode_slot(corpus, bpe, fresh(tmp_path))
    for side, rows in texts.items():
        wanted_tokens, wanted_starts = slow_arrays(bpe, rows)
        tokens = np.load(tmp_path / "out" / f"{side}.npy", mmap_mode="r" if rows else None)
        assert (tokens.tolist(), tokens.dtype) == (wanted_tokens, np.uint16)
        assert np.load(tmp_path / "out" / f"{side}.documents.npy").tolist() == wanted_starts
        assert facts.counts[f"{side}_tokens"] == len(wanted_tokens)


def test_above_65536_ids_arrays_are_uint32(tmp_path: Path) -> None:
    assert (token_dtype(65_536), token_dtype(65_537)) == (np.uint16, np.uint32)
    text = "".join(chr(code) for code in range(0x20000, 0x20000 + 65_300))
    vocabulary = character_vocabulary([np.frombuffer(text.encode(), np.uint8)])
    folder = write_tokenizer(tmp_path / "tokenizer", vocabulary)
    corpus = write_corpus(tmp_path / "corpus", [text[-3:]], [])
    encode_slot(corpus, folder, fresh(tmp_path))
    tokens = np.load(tmp_path / "out" / "train.npy")
    assert tokens.dtype == np.uint32
    assert tokens.tolist() == [65_556, 65_553, 65_554, 65_555]


def test_memory_is_bounded_by_the_row_groups_at_work(bpe: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", ["some text\n" * 100] * 300, [], row_group_bytes=10_000)
    tokenizer = load_tokenizer(bpe)
    reference = ReferenceEncoder(tokenizer)
    begun, written, ahead, rows = [0], [0], [0], [0]

    class Spy:
        def encode(self, texts: pa.StringArray) -> Encoded:
            begun[0] += len(texts)
            rows[0] = max(rows[0], len(texts))
            ahead[0] = max(ahead[0], begun[0] - written[0])
            return reference.encode(texts)

    def progress(done: float, total: float, unit: str) -> None:
        written[0] = int(done)
        assert (total, unit) == (300, "documents")

    for threads in (1, 2):
        begun[0] = written[0] = ahead[0] = 0
        write_slot(corpus, tokenizer, Spy(), fresh(tmp_path, f"out{threads}"), threads, progress)
        assert (begun[0], written[0]) == (300, 300)
        assert rows[0] == 10  # never more than a row group at once
        assert ahead[0] <= 10 * 2 * threads
    assert ROW_GROUP_BYTES <= 8_000_000


class Lying:
    """Gigatoken with one fault."""

    def __init__(self, honest: Any, lie: Callable[[Any], Any]) -> None:
        self._honest = honest
        self._lie = lie

    def encode_batch(self, texts: Any, parallel: bool) -> Any:
        return self._lie(self._honest.encode_batch(texts, parallel=parallel))


def swap_equally_long(ids: Any) -> Any:
    """Another letter in place of every e: the same number of bytes."""
    offsets, content = np.asarray(ids.layout.offsets.data), np.array(ids.layout.content.data)
    content[content == 68] = 69
    return awkward.Array(
        awkward.contents.ListOffsetArray(awkward.index.Index64(offsets), awkward.contents.NumpyArray(content))
    )


def panic(ids: Any) -> Any:
    raise type("PanicException", (BaseException,), {})("index out of bounds")


@pytest.mark.parametrize(
    ("lie", "note"),
    [
        (swap_equally_long, "gave other ids than tiktoken for a text that begins"),
        (lambda ids: ids[:, 1:], "gave ids of"),
        (lambda ids: ids[:-1], "rows for"),
        (lambda ids: ids + 1000, "gave an id that the tokenizer does not have"),
        (panic, "failed (index out of bounds)"),
    ],
)
def test_wrong_ids_of_gigatoken_are_noticed_and_replaced(
    bpe: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Callable[[Any], Any], note: str
) -> None:
    honest = gigatoken.Tokenizer.from_json
    monkeypatch.setattr(gigatoken.Tokenizer, "from_json", lambda form: Lying(honest(form), lie))
    facts = encode_slot(corpus, bpe, fresh(tmp_path), 2)
    check_fallback(facts, note)
    check_arrays(tmp_path / "out", bpe)


def check_fallback(facts: Facts, note: str) -> None:
    assert len(facts.notes) == 1
    assert facts.notes[0].startswith("Encoded with tiktoken, which is slower: gigatoken ")
    assert note in facts.notes[0]


def test_without_gigatoken_the_arrays_are_the_same(
    bpe: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    check_fallback(encode_slot(corpus, bpe, fresh(tmp_path)), "is not installed here")
    check_arrays(tmp_path / "out", bpe)


def test_a_difference_found_when_the_tokenizer_was_made_keeps_gigatoken_out(corpus: Path, tmp_path: Path) -> None:
    folder = small_bpe(tmp_path / "tokenizer")
    assert known_difference(folder) is None
    note_difference(folder, "gave other ids than tiktoken for x")
    check_fallback(encode_slot(corpus, folder, fresh(tmp_path)), "gave other ids than tiktoken for x")
    note_difference(folder, None)
    assert encode_slot(corpus, folder, fresh(tmp_path, "again")).notes == []


def test_ids_outside_of_the_vocabulary_are_refused(bpe: Path, corpus: Path, tmp_path: Path) -> None:
    whole = load_tokenizer(bpe).vocabulary
    smaller = load_tokenizer(write_tokenizer(tmp_path / "b", Vocabulary("bpe", whole.pattern, whole.tokens[:300])))
    with pytest.raises(TokenizerError, match=r"with id \d+, but the tokenizer's ordinary ids are 0 to 299"):
        write_slot(corpus, smaller, ReferenceEncoder(load_tokenizer(bpe)), fresh(tmp_path))


def test_the_array_file_is_what_numpy_writes(tmp_path: Path) -> None:
    values = np.arange(100_000, dtype=np.uint32)
    with ArrayFile(tmp_path / "ours.npy", np.uint32) as file:
        for part in np.array_split(values, 7):
            file.append(part)
    np.save(tmp_path / "numpys.npy", values)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()
    with ArrayFile(tmp_path / "wrong.npy", np.uint16) as file, pytest.raises(ValueError, match="uint16, not uint32"):
        file.append(values)


def test_a_failed_build_leaves_no_file_that_looks_complete(bpe: Path, corpus: Path, tmp_path: Path) -> None:
    class Failing(ReferenceEncoder):
        def encode(self, texts: pa.StringArray) -> Encoded:
            if any(text == ODD[3] for text in texts.to_pylist()):
                raise RuntimeError("no")
            return super().encode(texts)

    tokenizer = load_tokenizer(bpe)
    with pytest.raises(RuntimeError, match="no"):
        write_slot(corpus, tokenizer, Failing(tokenizer), fresh(tmp_path), 2)
    assert (tmp_path / "out" / "train.npy").stat().st_size > 1000
    with pytest.raises(ValueError, match=r"magic string|pickled"):
        np.load(tmp_path / "out" / "train.npy")
    assert not (tmp_path / "out" / "train.documents.npy").exists()
