"""Plain text: one document per file, or several between delimiter lines. Encodings are data/formats/decoding.py's."""

from collections.abc import Iterator

from data.formats.base import File, Found, Reading, Tally
from data.formats.decoding import decode, split
from data.formats.documents import mended
from data.formats.kinds import charset_of
from data.sources.base import RawDocument


def read_text(file: File, reading: Reading, tally: Tally) -> Found:
    """A document's id is the file's name; with a delimiter, `#n` follows, n being the number of the piece; later
    parts of a document that is too long end in `~2`, `~3`...
    """
    texts, meta = decoded(file, reading, tally)
    for piece, part, text in split(texts, reading.delimiter):
        native_id = file.name if reading.delimiter is None else f"{file.name}#{piece}"
        if part > 1:
            native_id += f"~{part}"
        if not text.isascii():
            text = mended(text, native_id, reading, tally)
        yield RawDocument(
            native_id,
            text,
            url=file.url,
            created=file.created,
            meta=meta,
            position={**file.position, "piece": piece, "part": part},
        )


def decoded(file: File, reading: Reading, tally: Tally) -> tuple[Iterator[str], dict[str, str]]:
    """The text of a file in chunks, and the meta of its documents: with its encoding, if that is not UTF-8."""
    encoding, texts = decode(file.chunks, reading.fallback_encoding, charset_of(file.content_type))
    tally.encoding(file.name, encoding)
    meta = dict(file.meta)
    if encoding.name != "utf-8":
        meta["encoding"] = encoding.name
    return texts, meta
