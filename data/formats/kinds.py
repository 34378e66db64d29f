"""Which reader a file is for, told by its name and, where that says nothing, by its declared content type."""

from typing import NamedTuple

from data.formats.decompression import COMPRESSIONS

TEXT_KINDS = (".txt", ".md", ".rst", ".text")
ARCHIVES = {".zip": "zip", ".tar": "tar"}
READERS = {
    **dict.fromkeys(TEXT_KINDS, "text"),
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".epub": "epub",
    ".pdf": "pdf",
    ".docx": "docx",
    ".warc": "warc",
    **ARCHIVES,
}  # the ending of a file without its compression -> its reader
_SHORT = {".tgz": ".tar.gz", ".tbz": ".tar.bz2", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_CONTENT_TYPES = {
    "text/plain": "text",
    "text/markdown": "text",
    "text/x-rst": "text",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/json": "json",
    "application/jsonl": "lines",
    "application/x-ndjson": "lines",
    "application/x-jsonlines": "lines",
    "application/vnd.apache.parquet": "parquet",
    "application/epub+zip": "epub",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/warc": "warc",
    "application/zip": "zip",
    "application/x-zip-compressed": "zip",
    "application/x-tar": "tar",
}


class Kind(NamedTuple):
    """A reader's name, and the compression around the file, one of `COMPRESSIONS` or None."""

    reader: str
    compression: str | None = None


_PLAIN = {ending: Kind(reader) for ending, reader in READERS.items()}


def is_wanted(name: str) -> bool:
    """Whether a file of this name is read."""
    return kind_of(name) is not None


def kind_of(name: str, content_type: str | None = None) -> Kind | None:
    """What a file is by its name, else by its content type; None when neither says."""
    name = name.lower()
    plain = _PLAIN.get(name[name.rfind(".") :])
    if plain is not None:
        return plain
    name = _spelt_out(name)
    compression = next((ending for ending in COMPRESSIONS if name.endswith(ending)), None)
    if compression:
        name = name.removesuffix(compression)
    reader = READERS.get(name[name.rfind(".") :]) if "." in name else None
    if reader is None and content_type is not None:
        reader = _CONTENT_TYPES.get(content_type.partition(";")[0].strip().lower())
    return Kind(reader, compression) if reader else None


def _spelt_out(name: str) -> str:
    ending = next((short for short in _SHORT if name.endswith(short)), None)
    return name.removesuffix(ending) + _SHORT[ending] if ending else name


def charset_of(content_type: str | None) -> str | None:
    """The charset that a content type declares."""
    for parameter in (content_type or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None
