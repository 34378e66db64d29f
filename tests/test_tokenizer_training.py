"""Making tokenizers: the merges that are learned, the sample they are learned from, and the folder that comes out."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
import regex  # type: ignore[import-untyped]
from pydantic import ValidationError

from data.facts import Facts
from data.tokenizers.bpe import VocabularyTooLargeError, train_bpe
from data.tokenizers.config import TokenizerConfig, TokenizerError, resolve_vocab_size
from data.tokenizers.load import load_tokenizer
from data.tokenizers.make import make_tokenizer
from data.tokenizers.sample import BLOCK_BYTES, draw_sample, plan_sample
from data.tokenizers.vocabulary import GPT4_PATTERN
from tests.tokenizer_examples import ODD, TOPICS, tiktoken_peer, write_corpus


def plain_bpe(texts: Iterable[str], merges: int) -> tuple[list[bytes], list[bytes]]:
    """Byte-level BPE, slow and obvious: the most frequent pair, among equals that of the lowest ids.

    returns  the tokens that are learned, and all of them by id
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = [bytes([byte]) for byte in [*visible, *(byte for byte in range(256) if byte not in visible)]]
    words = Counter(piece.encode() for text in texts for piece in regex.findall(GPT4_PATTERN, text))
    split = {word: [tokens.index(bytes([byte])) for byte in word] for word in words}
    for _ in range(merges):
        counts: Counter[tuple[int, int]] = Counter()
        for word, ids in split.items():
            for pair in pairwise(ids):
                counts[pair] += words[word]
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        tokens.append(tokens[best[0]] + tokens[best[1]])
        for word, ids in split.items():
            split[word] = merged(ids, best, len(tokens) - 1)
    return tokens[256:], tokens


def merged(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    out: list[int] = []
    rest = list(ids)
    while rest:
        if tuple(rest[:2]) == pair:
            out.append(new)
            rest = rest[2:]
        else:
            out.append(rest.pop(0))
    return out


def plain_encode(piece: bytes, tokens: list[bytes]) -> list[int]:
    """Merge the leftmost pair of lowest id until none is left."""
    parts = [bytes([byte]) for byte in piece]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    while True:
        found = [(ranks[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not found:
            return [ranks[part] for part in parts]
        at = min(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_a_word_worked_by_hand() -> None:
    # aaabdaaabac: aa occurs 4 times; then ab and aa+b twice each, ab has the lower ids; then aa+ab twice; then nothing
    vocabulary = train_bpe(["aaabdaaabac"], 260)
    assert vocabulary.tokens[256:] == (b"aa", b"ab", b"aaab")
    assert (vocabulary.eot_id, vocabulary.size) == (259, 260)


def test_merges_are_those_of_a_plain_implementation() -> None:
    texts = [*TOPICS[:4], *ODD]
    learned, tokens = plain_bpe(texts, 150)
    vocabulary = train_bpe(texts, 256 + 150 + 1)
    assert list(vocabulary.tokens[256:]) == learned
    assert list(vocabulary.tokens) == tokens


def test_ids_are_those_of_a_plain_implementation(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", TOPICS[:20], ODD)
    make_tokenizer({"docs": [corpus / "train.parquet"]}, [], TokenizerConfig(vocab_size=700), made(tmp_path))
    ours = load_tokenizer(tmp_path / "made")
    for text in [*ODD[:-4], TOPICS[30]]:
        pieces = regex.findall(GPT4_PATTERN, text)
        wanted = [i for piece in pieces for i in plain_encode(piece.encode(), list(ours.vocabulary.tokens))]
        assert ours.encode_ordinary(text) == wanted


def made(folder: Path, name: str = "made") -> Path:
    out = folder / name
    out.mkdir()
    return out


def test_a_vocabulary_that_the_text_does_not_support_is_refused_with_both_numbers() -> None:
    with pytest.raises(VocabularyTooLargeError, match=r"vocab_size is 261, but the training text supports 260 ids"):
        train_bpe(["aaabdaaabac"], 261)
    with pytest.raises(VocabularyTooLargeError, match=r"vocab_size is 5,000.* supports 257 ids .*vocab_size to 257 or"):
        train_bpe(["a"], 5000)
    assert train_bpe(["aaabdaaabac"], 5000, or_fewer=True).size == 260


def test_a_vocabulary_by_formula_takes_what_little_text_supports(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", TOPICS[:1], [])
    facts = make_tokenizer({"toy": [corpus / "train.parquet"]}, [], TokenizerConfig(), made(tmp_path))
    assert 256 < facts.counts["vocab_size"] < 512
    assert any(
        f"no more than {facts.counts['vocab_size']} ids; by formula there would be 512" in n for n in facts.notes
    )


def test_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", TOPICS, TOPICS[:3], row_group_bytes=50_000)
    program = (
        "import sys; from pathlib import Path\n"
        "from data.tokenizers.make import make_tokenizer; from data.tokenizers.config import TokenizerConfig\n"
        "corpus, out = map(Path, sys.argv[1:])\n"
        "make_tokenizer({'a': [corpus / 'train.parquet']}, [corpus / 'validation.parquet'], TokenizerConfig(), out)\n"
    )
    digests = set()
    for threads, parallel in (("1", "false"), ("1", "true"), ("5", "true")):
        out = made(tmp_path, f"made-{threads}-{parallel}")
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel}
        command = [sys.executable, "-c", program, str(corpus), str(out)]
        subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1])
        files = sorted(path for path in out.iterdir() if path.is_file())
        digests.add(tuple((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files))
    assert len(digests) == 1
    names = [name for name, _ in digests.pop()]
    assert names == ["ranks.tiktoken", "token_bytes.npy", "tokenizer.json", "tokenizer.meta.json", "vocabulary.txt"]


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_what_is_reported(tmp_path: Path, kind: str) -> None:
    corpus = write_corpus(tmp_path / "corpus", TOPICS[:60], ODD)
    config = TokenizerConfig.model_validate({"kind": kind})
    facts: Facts = make_tokenizer(
        {"docs": [corpus / "train.parquet"]}, [corpus / "validation.parquet"], config, made(tmp_path)
    )
    peer = tiktoken_peer(tmp_path / "made")
    train_bytes = sum(len(text.encode()) for text in TOPICS[:60])
    validation_bytes = sum(len(text.encode()) for text in ODD)
    validation_tokens = sum(map(len, peer.encode_ordinary_batch(ODD)))
    assert facts.counts == {
        "sample_bytes": train_bytes,
        "vocab_size": peer.n_vocab,
        "validation_bytes": validation_bytes,
        "validation_tokens": validation_tokens,
    }
    train_tokens = sum(map(len, peer.encode_ordinary_batch(TOPICS[:60])))
    assert facts.details["bytes_per_token"] == {
        "train": round(train_bytes / train_tokens, 4),
        "validation": round(validation_bytes / validation_tokens, 4),
    }
    assert facts.notes == []
    assert peer.n_vocab == (512 if kind == "bpe" else 257 + len({c for t in TOPICS[:60] for c in t if ord(c) > 127}))


def test_validation_text_does_not_reach_the_vocabulary(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", TOPICS[:20], ["漢字" * 100])
    for kind in ("bpe", "characters"):
        out = made(tmp_path, kind)
        config = TokenizerConfig.model_validate({"kind": kind})
        make_tokenizer({"docs": [corpus / "train.parquet"]}, [corpus / "validation.parquet"], config, out)
        assert not [token for token in load_tokenizer(out).vocabulary.tokens if "漢".encode() in token]


def test_no_training_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no training text"):
        make_tokenizer({"docs": []}, [], TokenizerConfig(), made(tmp_path))


@pytest.mark.parametrize(
    ("train_bytes", "size"),
    [(0, 512), (100_000, 512), (1_000_000, 1024), (2_000_000, 2048), (10_000_000, 8192), (10**9, 32_768)],
)
def test_the_size_follows_from_the_corpus(train_bytes: int, size: int) -> None:
    assert resolve_vocab_size(train_bytes) == size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "artifact"}, "`artifact` names none"),
        ({"artifact": "tokenizer/x"}, "set kind to 'artifact'"),
        ({"kind": "gpt2", "vocab_size": 1024}, "set vocab_size to null"),
        ({"sample_weights": {"a": -1.0}}, r"at least 0, but here are \{'a': -1.0\}"),
        ({"sample_weights": {"a": float("nan")}}, "must be finite"),
        ({"vocab_size": 256}, "greater than or equal to 257"),
        ({"vocabsize": 512}, "Extra inputs"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TokenizerConfig.model_validate(values)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("sample")
    numbered = [f"{number:06} " * 100 for number in range(1000)]  # 700 bytes each
    return {
        "a": [write_corpus(folder / f"a{k}", numbered[k * 500 :][:500], []) / "train.parquet" for k in range(2)],
        "b": [write_corpus(folder / "b", ["é" * 500] * 100, []) / "train.parquet"],
    }


def test_the_sample_is_all_of_it_where_it_fits(shards: dict[str, list[Path]]) -> None:
    plan = plan_sample(shards, {}, 10**9)
    assert plan.sizes == {"a": 700_000, "b": 100_000}
    text = "".join(draw_sample(shards, plan))
    assert text == "".join(f"{number:06} " * 100 for number in range(1000)) + "é" * 50_000


def test_the_sample_is_spread_evenly_below_the_cap(shards: dict[str, list[Path]]) -> None:
    drawn = list(draw_sample(shards, plan_sample(shards, {}, 80_000)))
    assert 76_000 < sum(len(block.encode()) for block in drawn) <= 80_000
    numbers = [int(block[:6]) for block in drawn if block[0] == "0"]
    assert len(numbers) == 100  # a tenth of both sources
    assert max(b - a for a, b in pairwise([0, *numbers, 1000])) <= 11
    assert len(drawn) - len(numbers) == 10


def test_sample_weights_are_factors_on_the_part_taken(shards: dict[str, list[Path]]) -> None:
    assert plan_sample(shards, {"b": 2.0}, 90_000).shares == pytest.approx({"a": 0.1, "b": 0.2})
    assert plan_sample(shards, {"b": 2.0}, 10**9).shares == {"a": 0.5, "b": 1.0}
    assert set(draw_sample(shards, plan_sample(shards, {"a": 0.0}, 10**9))) == {"é" * 500}


def test_sample_weights_that_mean_nothing_are_refused(shards: dict[str, list[Path]]) -> None:
    with pytest.raises(TokenizerError, match="names 'c', but the sources with training text are 'a', 'b'"):
        plan_sample(shards, {"c": 1.0}, 1000)
    with pytest.raises(TokenizerError, match="leave no text to train on"):
        plan_sample(shards, {"a": 0.0, "b": 0.0}, 1000)


def test_long_rows_are_cut_at_lines_and_never_inside_of_a_character(tmp_path: Path) -> None:
    text = "x" + "漢" * 50_000 + "\n" + "line\n" * 30_000
    path = write_corpus(tmp_path, [text], []) / "train.parquet"
    blocks = list(draw_sample({"a": [path]}, plan_sample({"a": [path]}, {}, 10**9)))
    assert "".join(blocks) == text
    assert max(len(block.encode()) for block in blocks) <= BLOCK_BYTES
    assert [block for block in blocks if block.startswith("line") and not block.endswith("line\n")] == []
