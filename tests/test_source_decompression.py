"""Decompressing against what the standard tools wrote, cut and damaged in every place."""

import bz2
import gzip
import lzma
import random
import tracemalloc
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data.formats import decompression
from data.formats.decompression import COMPRESSIONS, CannotDecompressError, decompress

WRITERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
TEXT = " ".join(random.Random(7).choices(["mill", "grain", "flour", "stone", "sail"], k=4000)).encode()


def unpack(data, ending, chunk=777):
    return b"".join(decompress((data[at : at + chunk] for at in range(0, len(data), chunk)), ending))


def test_every_compression_is_tested():
    assert tuple(WRITERS) == COMPRESSIONS


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("text", [b"", b"x", TEXT, TEXT * 20], ids=["empty", "byte", "short", "long"])
def test_what_was_compressed_comes_back(ending, text):
    data = WRITERS[ending](text)
    assert unpack(data, ending) == unpack(data, ending, chunk=10_000_000) == text


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_members_follow_one_another_and_padding_is_none(ending):
    two = WRITERS[ending](b"one ") + WRITERS[ending](b"two")
    assert unpack(two, ending) == unpack(two, ending, chunk=1) == b"one two"
    assert unpack(two + bytes(512), ending) == b"one two"


def test_a_zstandard_frame_without_text_is_passed_over():
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd"
    assert unpack(skippable + zstandard.compress(b"text") + skippable, ".zst") == b"text"


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_cut_data_are_noticed_wherever_the_cut_is(ending):
    data = WRITERS[ending](TEXT[:3000])
    for length in range(len(data)):
        with pytest.raises(CannotDecompressError) as caught:
            unpack(data[:length], ending)
        assert caught.value.what == "cut"
        assert f"after {length} bytes" in caught.value.why


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_damage_is_noticed(ending):
    options = {"write_checksum": True}
    write = zstandard.ZstdCompressor(**options).compress if ending == ".zst" else WRITERS[ending]
    data = bytearray(write(TEXT))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(CannotDecompressError) as caught:
        unpack(bytes(data), ending)
    assert caught.value.what in ("damaged", "cut")
    with pytest.raises(CannotDecompressError) as caught:
        unpack(write(TEXT) + b"something else", ending)
    assert caught.value.what in ("damaged", "cut")


BOMBS = {
    ".gz": lambda: gzip.compress(bytes(8_000_000), 1),
    ".bz2": lambda: bz2.compress(bytes(45_000_000)),  # 45 bytes
    ".xz": lambda: lzma.compress(bytes(8_000_000), preset=0),
    ".zst": lambda: zstandard.compress(bytes(100_000_000)),
}


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_bomb_stops_early_and_in_little_memory(ending, monkeypatch):
    monkeypatch.setattr(decompression, "BOMB_BYTES", 4_000_000)
    bomb = BOMBS[ending]()
    handed_out = 0
    tracemalloc.start()
    with pytest.raises(CannotDecompressError) as caught:
        for chunk in decompress([bomb], ending):
            handed_out += len(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.what == "decompression_bomb"
    assert handed_out <= 4_000_000
    assert peak < 80_000_000


def test_text_that_compresses_well_is_no_bomb(monkeypatch):
    monkeypatch.setattr(decompression, "BOMB_BYTES", 1000)
    text = (TEXT[:2000] + b"\n") * 12  # by about 40
    assert unpack(lzma.compress(text), ".xz") == text
    with pytest.raises(CannotDecompressError, match="1000 bytes or 200 times are allowed"):
        unpack(lzma.compress(text * 100), ".xz")


def test_a_large_window_is_refused():
    options = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=options).compressobj()
    data = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(CannotDecompressError, match="memory"):
        unpack(data, ".zst")


@given(st.sampled_from(COMPRESSIONS), st.binary(max_size=300), st.booleans())
def test_no_bytes_raise_anything_else(ending, data, after_valid):
    with suppress(CannotDecompressError):
        unpack((WRITERS[ending](b"text") if after_valid else b"") + data, ending)
