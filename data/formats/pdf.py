"""PDF, by pypdf, which is an extra of this project: the text of the pages, one after the other."""

import logging
from typing import Any

from data.formats.base import CannotReadError, File, Found, Reading, Tally
from data.formats.documents import document
from data.formats.spool import opened
from data.sources.base import Problem

HINT = "reading {} needs {}: .venv/bin/pip install -c constraints.txt -e '.[{}]'"


def read_pdf(file: File, reading: Reading, tally: Tally) -> Found:
    """The file as one document, whose id is the file's name; a Problem for a page that cannot be read."""
    try:
        import pypdf
    except ImportError:
        raise CannotReadError("not_installed", HINT.format(".pdf", "pypdf", "pdf")) from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every oddity that it comes over
    with opened(file) as content:
        try:
            pdf = pypdf.PdfReader(content)
            if pdf.is_encrypted and not pdf.decrypt(""):
                raise CannotReadError("encrypted", "it can be read with a password only")
            pages = len(pdf.pages)
        except CannotReadError:
            raise
        except Exception as error:  # whatever a parser of other people's files may come upon
            raise CannotReadError("damaged", _why(error)) from error
        texts = []
        for number in range(pages):
            try:
                texts.append(pdf.pages[number].extract_text().strip())
            except Exception as error:
                yield Problem("damaged", f"{file.name}#{number + 1}", _why(error))
        text = "\n\n".join(text for text in texts if text)
        if not text:
            raise CannotReadError("no_text", f"no text on its {pages} pages; pictures of text are not read")
        said = _said(pdf)
        title, author, created = said.get("title"), said.get("author"), said.get("creation_date")
        yield from document(
            file,
            file.name,
            text,
            reading,
            tally,
            meta={"title": title} if isinstance(title, str) and title.strip() else None,
            authors=(author,) if isinstance(author, str) and author.strip() else (),
            created=created.isoformat() if created else None,
        )


def _said(pdf: Any) -> dict[str, Any]:
    """What the file says of itself, as far as that can be read."""
    said = {}
    for name in ("title", "author", "creation_date"):
        try:
            said[name] = getattr(pdf.metadata, name, None)
        except Exception:  # a broken date is no reason to leave the text
            said[name] = None
    return said


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
