"""Short ways to read bytes as a file of some name."""

from pathlib import Path

from data.formats.base import File, Reading, Tally
from data.formats.reading import read_file
from data.sources.base import Problem, RawDocument

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def found(name, data, reading=None, tally=None, chunk=1 << 20, **more):
    """All that is found in a file, in order, with `meta` {"look": 1}."""

    def chunks():
        return (data[at : at + chunk] for at in range(0, len(data), chunk))

    return list(read_file(File(name, chunks, meta={"look": 1}, **more), reading or Reading(), tally or Tally()))


def documents(found):
    return [one for one in found if isinstance(one, RawDocument)]


def problems(found):
    return [one for one in found if isinstance(one, Problem)]


def texts(found):
    return {document.native_id: document.text for document in documents(found)}
