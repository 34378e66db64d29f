"""Word documents (.docx), by python-docx, which is an extra of this project: paragraphs and tables in their order."""

from collections.abc import Iterator
from typing import Any

from data.formats.base import CannotReadError, File, Found, Reading, Tally
from data.formats.documents import document
from data.formats.pdf import HINT
from data.formats.spool import opened
from data.formats.zips import open_zip

_UNPACKED_BYTES = 150_000_000  # the library holds all of it, pictures included
_MARKUP_BYTES = 15_000_000  # of that; as a tree it takes many times that


def read_docx(file: File, reading: Reading, tally: Tally) -> Found:
    """The file as one document, whose id is the file's name."""
    try:
        import docx
    except ImportError:
        raise CannotReadError("not_installed", HINT.format(".docx", "python-docx", "docx")) from None
    with opened(file) as content:
        members = open_zip(content).infolist()
        unpacked = sum(info.file_size for info in members)
        markup = sum(info.file_size for info in members if info.filename.lower().endswith((".xml", ".rels")))
        if unpacked > _UNPACKED_BYTES or markup > _MARKUP_BYTES:
            limits = f"{_UNPACKED_BYTES} and {_MARKUP_BYTES} are read"
            raise CannotReadError("too_large", f"{unpacked} bytes unpacked, {markup} of them text; {limits}")
        content.seek(0)
        try:
            word = docx.Document(content)
            text = "\n\n".join(block for block in _blocks(word) if block)
            said = word.core_properties
            title, author, created = said.title, said.author, said.created
        except Exception as error:  # whatever a parser of other people's files may come upon
            raise CannotReadError("damaged", f"{type(error).__name__}: {error}"[:200]) from error
        if not text:
            raise CannotReadError("no_text", "no text in it")
        yield from document(
            file,
            file.name,
            text,
            reading,
            tally,
            meta={"title": title} if title else None,
            authors=(author,) if author else (),
            created=created.isoformat() if created else None,
        )


def _blocks(container: Any) -> Iterator[str]:
    """The text of each paragraph, and of each row of a table with tabs between its cells."""
    for block in container.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                yield "\t".join(" ".join(_blocks(cell)) for cell in row.cells).strip()
        else:
            yield block.text.strip()
