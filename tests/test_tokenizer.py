"""Text to ids and back: our loader against HF tokenizers and tiktoken, on real text and on any text."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.tokenizers.check import TokenizersDifferError, check_identical
from data.tokenizers.config import TokenizerError
from data.tokenizers.gpt2 import gpt2_vocabulary
from data.tokenizers.load import load_tokenizer
from data.tokenizers.vocabulary import GPT4_PATTERN, Vocabulary
from tests.tokenizer_examples import (
    ODD,
    SHARED,
    SPECIAL,
    TOPICS,
    small_bpe,
    small_characters,
    tiktoken_peer,
    write_tokenizer,
)

KINDS = ("bpe", "characters", "gpt2")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample folder")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ANY_TEXT = st.lists(
    st.one_of(
        st.text(max_size=20), st.sampled_from([SPECIAL, " ", "\n", "\r\n", "  ", "'s", "the ", "123", "é", "漢"])
    ),
    max_size=12,
).map("".join)


class Trio:
    """One tokenizer in its three forms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = load_tokenizer(folder)
        self.hf = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.hf.encode_special_tokens = True
        self.tiktoken = tiktoken_peer(folder)

    def agree(self, text: str) -> list[int]:
        """Check that all forms give the same ids and the text back; returns the ids."""
        ids = self.ours.encode_ordinary(text)
        assert ids == self.hf.encode(text).ids
        assert ids == self.tiktoken.encode_ordinary(text)
        assert self.ours.eot_id not in ids
        assert self.ours.decode(ids) == text
        assert self.hf.decode(ids) == text
        return ids


@pytest.fixture(scope="module", autouse=True)
def tiktoken_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """tiktoken gets a writable copy of the sample cache: it deletes what it takes for damaged."""
    folder = tmp_path_factory.mktemp("tiktoken")
    if SHARED.is_dir():
        for path in (SHARED / "tiktoken_cache").iterdir():
            shutil.copyfile(path, folder / path.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        yield


@pytest.fixture(scope="module")
def trios(tmp_path_factory: pytest.TempPathFactory, tiktoken_cache: None) -> dict[str, Trio]:
    folder = tmp_path_factory.mktemp("tokenizers")
    folders = {"bpe": small_bpe(folder / "bpe"), "characters": small_characters(folder / "characters")}
    if SHARED.is_dir():
        folders["gpt2"] = write_tokenizer(folder / "gpt2", gpt2_vocabulary())
    return {kind: Trio(path) for kind, path in folders.items()}


@pytest.fixture(params=KINDS)
def trio(request: pytest.FixtureRequest, trios: dict[str, Trio]) -> Trio:
    if request.param not in trios:
        pytest.skip("needs the sample folder")
    return trios[request.param]


def test_all_forms_agree_on_real_and_odd_text(trio: Trio) -> None:
    for text in [*ODD, *TOPICS[40:50]]:
        trio.agree(text)


@needs_shared
def test_all_forms_agree_on_mojibake_and_books(trio: Trio) -> None:
    texts = re.findall(r'"original": "(.*)"', (SHARED / "messy" / "ftfy-in-the-wild.json").read_text(encoding="utf-8"))
    assert len(texts) > 20
    texts.append((SHARED / "gutenberg" / "7000-8.txt").read_text(encoding="latin-1")[:100_000])
    for text in texts:
        trio.agree(text)


@QUICK
@given(text=ANY_TEXT)
def test_any_text_comes_back_and_is_encoded_alike(trio: Trio, text: str) -> None:
    trio.agree(text)


def test_text_that_spells_the_special_token_stays_text(trio: Trio) -> None:
    ids = trio.agree(f"a{SPECIAL}b")
    assert len(ids) > 3
    # HF tokenizers does otherwise unless told: this is why the flag above is set, and why gigatoken gets another file
    stock = tokenizers.Tokenizer.from_file(str(trio.folder / "tokenizer.json"))
    assert trio.ours.eot_id in stock.encode(f"a{SPECIAL}b").ids


def test_the_special_token_has_the_id_after_the_ordinary_ones(trio: Trio) -> None:
    ours = trio.ours
    assert ours.eot_id == ours.vocab_size - 1 == trio.hf.token_to_id(SPECIAL) == trio.tiktoken.eot_token
    assert trio.hf.get_vocab_size(with_added_tokens=True) == trio.tiktoken.n_vocab == ours.vocab_size
    assert trio.hf.get_vocab_size(with_added_tokens=False) == ours.eot_id  # outside of the merges
    assert ours.decode([ours.eot_id]) == SPECIAL


def test_byte_lengths_and_listing_agree_with_the_tokens(trio: Trio) -> None:
    lengths = np.load(trio.folder / "token_bytes.npy")
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [len(trio.tiktoken.decode_single_token_bytes(i)) for i in range(len(lengths) - 1)] + [0]
    lines = (trio.folder / "vocabulary.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == list(range(trio.ours.vocab_size))
    assert lines[-1].endswith(f"{SPECIAL} (special)")
    meta = json.loads((trio.folder / "tokenizer.meta.json").read_text(encoding="utf-8"))
    assert meta["special"] == {SPECIAL: meta["eot_id"]}
    assert meta["vocab_size"] == meta["eot_id"] + 1 == len(lengths)


@QUICK
@given(data=st.data())
def test_streaming_emits_whole_characters_and_in_the_end_the_same_text(trio: Trio, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, trio.ours.vocab_size - 1), max_size=30))
    pieces = list(trio.ours.decode_stream(iter(ids)))
    assert "".join(pieces) == trio.ours.decode(ids) == trio.ours.decode_bytes(ids).decode(errors="replace")
    assert all(pieces)


def test_streaming_waits_for_the_rest_of_a_character(trios: dict[str, Trio]) -> None:
    ours = trios["characters"].ours
    wave = "👋".encode()  # not in the alphabet, so one id per byte
    ids = ours.encode_ordinary("a👋b")
    assert ids == [ord("a"), *wave, ord("b")]
    assert list(ours.decode_stream(ids)) == ["a", "👋", "b"]
    assert list(ours.decode_stream(ids[:3])) == ["a", "\ufffd"]


def test_characters_have_one_id_each(trios: dict[str, Trio]) -> None:
    ours = trios["characters"].ours
    assert ours.encode_ordinary("Az\n") == [65, 122, 10]
    alphabet = sorted(character for character in {*"éü漢🙂", *"".join(TOPICS[:5])} if ord(character) > 127)
    assert ours.encode_ordinary("".join(alphabet)) == list(range(256, 256 + len(alphabet)))
    assert ours.vocab_size == 256 + len(alphabet) + 1


def test_batches_are_encoded_like_single_texts(trio: Trio) -> None:
    texts = [*ODD, *TOPICS[:5]]
    wanted = [trio.tiktoken.encode_ordinary(text) for text in texts]
    assert trio.ours.encode_batch(texts) == wanted
    assert trio.ours.encode_batch(texts, threads=3) == wanted
    assert trio.ours.encode_batch([]) == []


def test_lone_surrogates_are_refused(trio: Trio) -> None:
    for encode in (trio.ours.encode_ordinary, lambda text: trio.ours.encode_batch(["ok", text])):
        with pytest.raises(TokenizerError, match=r"character 3 is the lone surrogate U\+D83D"):
            encode("abc\ud83d")


def test_ids_that_do_not_exist_are_refused(trio: Trio) -> None:
    size = trio.ours.vocab_size
    for wrong in (size, -1):
        with pytest.raises(TokenizerError, match=f"id {wrong}: the tokenizer's ids are 0 to {size - 1}"):
            trio.ours.decode([0, wrong])


def test_white_space_beyond_the_limits_of_tiktoken(trios: dict[str, Trio]) -> None:
    text = "x" + " " * 1_100_000 + "y"  # tiktoken ends with a panic there
    ids = trios["bpe"].ours.encode_ordinary(text)
    assert ids == trios["bpe"].hf.encode(text).ids
    assert trios["bpe"].ours.decode(ids) == text


def test_a_token_that_no_merges_lead_to_is_taken_whole(tmp_path: Path) -> None:
    tokens = (*(bytes([byte]) for byte in range(256)), b"abc")  # neither ab nor bc
    trio = Trio(write_tokenizer(tmp_path, Vocabulary("bpe", GPT4_PATTERN, tokens)))
    assert trio.agree("abc abcd") == [256, *b" abcd"]


@needs_shared
def test_gpt2_is_the_published_one(trios: dict[str, Trio]) -> None:
    gpt2 = trios["gpt2"]
    published = tiktoken.get_encoding("gpt2")
    stock = tokenizers.ByteLevelBPETokenizer(str(SHARED / "gpt2" / "encoder.json"), str(SHARED / "gpt2" / "vocab.bpe"))
    text = (SHARED / "tiny_shakespeare.txt").read_text(encoding="utf-8")
    ids = gpt2.ours.encode_ordinary(text)
    assert len(ids) == 338_025
    assert ids == published.encode_ordinary(text)
    assert (gpt2.ours.vocab_size, gpt2.ours.eot_id) == (50_257, published.eot_token)
    for sample in [text[:20_000], *ODD]:
        assert gpt2.hf.encode(sample).ids == stock.encode(sample).ids


def test_gpt2_without_cache_and_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("requests.get", offline)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(TokenizerError, match=r"TIKTOKEN_CACHE_DIR is .*empty.*could not be downloaded \(OSError\)"):
        gpt2_vocabulary()


def test_a_difference_between_the_files_is_found_and_named(trios: dict[str, Trio], tmp_path: Path) -> None:
    texts = [*ODD, "The quick brown fox."]
    checked = check_identical(trios["bpe"].folder, texts)
    assert (checked.texts, checked.bytes) == (len(texts), sum(len(text.encode()) for text in texts))
    assert checked.tokens == sum(len(trios["bpe"].tiktoken.encode_ordinary(text)) for text in texts)

    broken = shutil.copytree(trios["bpe"].folder, tmp_path / "broken")
    form = json.loads((broken / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = form["model"]["vocab"]
    vocab["q"], vocab["x"] = vocab["x"], vocab["q"]
    (broken / "tokenizer.json").write_text(json.dumps(form), encoding="utf-8")
    with pytest.raises(TokenizersDifferError) as caught:
        check_identical(broken, ["The fo", "The quick brown fox."])
    message = str(caught.value)
    assert "HF tokenizers" in message and "The quick" in message
    assert f"the id is {vocab['q']} here and {vocab['x']} there" in message  # of the x in fox, swapped above


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ranks.tiktoken", None, "ranks.tiktoken is missing"),
        ("ranks.tiktoken", b"!!! 0\n", "line 1 is b'!!! 0'"),
        ("ranks.tiktoken", b"YQ== 1\n", "line 1 has rank '1', but 0 comes there"),
        ("ranks.tiktoken", b"YQ== 0\n", "holds 1 different tokens, but tokenizer.meta.json says 999"),
        ("tokenizer.meta.json", None, "tokenizer.meta.json is missing"),
        ("tokenizer.meta.json", b"{", "tokenizer.meta.json is damaged"),
        ("tokenizer.meta.json", b"{}", "tokenizer.meta.json is damaged: KeyError"),
    ],
)
def test_damaged_files_are_named(
    trios: dict[str, Trio], tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    folder = shutil.copytree(trios["bpe"].folder, tmp_path / "copy")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(TokenizerError, match=re.escape(message)):
        load_tokenizer(folder)
