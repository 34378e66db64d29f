"""JSON lines (.jsonl, .ndjson): one object, or one text, on each line."""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from data.formats.base import RECORD_BYTES, File, Found, Reading, Tally
from data.formats.decoding import CannotDecodeError, decode
from data.formats.documents import Records
from data.sources.base import Problem

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


class BrokenJsonError(ValueError):
    """Text that is not JSON, or no JSON that is read here."""


def read_json_lines(file: File, reading: Reading, tally: Tally) -> Found:
    """A document's id is the file's name and `#n`, n being the number of the line, from 1, blank lines counted."""
    records = Records(file, reading, tally)
    for row, line in enumerate(_lines(file, reading, tally), 1):
        if line is None:
            yield Problem("too_long", f"{file.name}#{row}", f"a line over {RECORD_BYTES} bytes")
            continue
        if not line or line.isspace():
            continue
        try:
            record = parse(line, reading, file.name, tally)
        except BrokenJsonError as error:
            yield Problem("broken", f"{file.name}#{row}", str(error))
            continue
        yield from records.read(row, record)


def parse(line: bytes, reading: Reading, name: str, tally: Tally) -> Any:
    """A JSON value. Raises BrokenJsonError."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass  # perhaps it is only stricter: NaN, whole numbers over 64 bits, halves of surrogate pairs
    try:
        encoding, texts = decode(lambda: [line], reading.fallback_encoding)
        if encoding.guessed:
            tally.encoding(name, encoding)
        return parse_text("".join(texts))
    except CannotDecodeError as error:
        raise BrokenJsonError(error.why) from error


def parse_text(text: str) -> Any:
    """A JSON value, by the standard library. Raises BrokenJsonError."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BrokenJsonError("nested too deeply") from error
    except ValueError as error:  # not JSON, or a number of thousands of digits
        raise BrokenJsonError(f"not JSON: {error}"[:200]) from error


def _lines(file: File, reading: Reading, tally: Tally) -> Iterator[bytes | None]:
    r"""The lines without their ends, which are `\n`, perhaps after `\r`; None stands for one that is too long."""
    chunks = iter(file.chunks())
    first = next(chunks, b"")
    if first.startswith(_WIDE_MARKS):
        _, texts = decode(file.chunks, reading.fallback_encoding)
        return lines_of(text.encode("utf-8", "surrogatepass") for text in texts)
    return lines_of(_chained(first.removeprefix(codecs.BOM_UTF8), chunks))


def _chained(first: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Cut a stream into lines, without their ends; None stands for one over `RECORD_BYTES`."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        held.append(first)
        size += len(first)
        if not others:
            if size > RECORD_BYTES:
                held = held[:0]
            continue
        yield None if size > RECORD_BYTES else b"".join(held)
        yield from others[:-1]
        held, size = [others[-1]], len(others[-1])
    if size:
        yield None if size > RECORD_BYTES else b"".join(held)
