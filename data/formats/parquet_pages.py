"""What the headers of a column chunk's pages say, which the footer does not: the order of their encodings.

Headers are Thrift in its compact protocol: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Iterator
from typing import Any

_HEADER_BYTES = (1 << 12, 1 << 24)  # read for a header: so many, then as many as pyarrow takes
_SIZE, _DATA, _DATA_V2 = 3, 5, 8  # fields of a header
_ENCODING = {_DATA: 2, _DATA_V2: 4}  # field of the encoding in each kind of data page
_DICTIONARIES = (2, 8)  # PLAIN_DICTIONARY, RLE_DICTIONARY
_MANY = 100_000  # pages of a chunk that are looked at
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12


def dictionary_comes_first(content: Any, chunk: Any) -> bool:
    """Whether the pages that use the dictionary are those before all others, as writers make them; False if unsure."""
    try:
        is_used = [encoding in _DICTIONARIES for encoding in _encodings(content, chunk)]
    except (IndexError, ValueError, OSError, RecursionError):
        return False
    return is_used == sorted(is_used, reverse=True)


def _encodings(content: Any, chunk: Any) -> Iterator[int]:
    at = int(chunk.data_page_offset)
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = int(chunk.dictionary_page_offset)
    end = at + int(chunk.total_compressed_size)
    for _ in range(_MANY):
        if at >= end:
            return
        header, length = _header(content, at, end)
        for kind, field in _ENCODING.items():
            if kind in header:
                yield header[kind][field]
        if header.get(_SIZE, -1) < 0:
            raise ValueError("a page without its size")
        at += length + header[_SIZE]
    raise ValueError(f"more than {_MANY} pages")


def _header(content: Any, at: int, end: int) -> tuple[dict[int, Any], int]:
    """A header's fields by number, and its length."""
    for size in _HEADER_BYTES:
        content.seek(at)
        data = content.read(min(size, end - at))
        try:
            return _struct(data, 0)
        except IndexError:
            if len(data) < size:
                raise
    raise ValueError("a header is too long")


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    fields: dict[int, Any] = {}
    number = 0
    while kind := data[at]:
        at += 1
        number, at = (number + (kind >> 4), at) if kind >> 4 else _integer(data, at)
        if kind & 15 in (_TRUE, _FALSE):
            fields[number] = kind & 15 == _TRUE
        else:
            fields[number], at = _value(data, at, kind & 15)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == _STRUCT:
        return _struct(data, at)
    if kind == _BINARY:
        size, at = _varint(data, at)
        if at + size > len(data):
            raise IndexError
        return None, at + size
    if kind == _BYTE:
        return data[at], at + 1
    if kind in (_DOUBLE, _LIST, _SET, _MAP):
        raise ValueError("headers of pages have none of these")
    return _integer(data, at)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return number >> 1 ^ -(number & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 70:
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return number, at
        shift += 7
    raise ValueError("a number is too long")
