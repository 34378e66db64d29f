"""Which files a dataset holds now, asking the hub for no more than what may have changed since the look before."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from data.sources.base import Problem, SourceError
from data.sources.hub.client import CONVERTED, Hub, HubFile, NotOnHubError
from data.sources.hub.files import Selection, Wanted, kind_of, select
from data.sources.hub.reading import text_rows
from data.sources.hub.rows import Fields, Unreadable

_PEEK_BYTES = 1 << 18  # of a JSONL or CSV file, to see whether it has the text column


def remember(selection: Selection) -> dict[str, Any]:
    """What the next look wants to know of this one's selection, JSON-able."""
    return {
        "commits": selection.commits,
        "files": [[one.path, one.size, one.oid, one.sha256, one.commit] for one in selection.files],
        "problems": [[one.what, one.where, one.why] for one in selection.problems],
    }


def remembered_selection(hub: Hub, known: Mapping[str, Any], revision: str) -> Selection | None:
    """The selection of an earlier look, if all revisions that it looked at are where they were."""
    try:
        commits = {str(one): str(commit) for one, commit in known["commits"].items()}
        files = tuple(_file(*one) for one in known["files"])
        problems = tuple(Problem(*one) for one in known["problems"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not files or revision not in commits or not commits.keys() <= {revision, CONVERTED}:
        return None
    with suppress(NotOnHubError):
        if all(hub.commit(one) == commit for one, commit in commits.items()):
            return Selection(files, problems, commits)
    return None


def new_selection(hub: Hub, known: Mapping[str, Any], revision: str, wanted: Wanted) -> Selection:
    """What is there now; the commits that last touched files are asked for where they are not known."""
    selection = select(hub, revision, wanted)
    before: dict[tuple[str, str], str] = {}
    with suppress(TypeError, ValueError):
        before = {(path, oid): commit for path, _, oid, _, commit in known.get("files", ())}
    new = [one for one in selection.files if (one.path, one.oid) not in before]
    commit = list(selection.commits.values())[-1]
    asked = {one.path: one.commit for one in hub.with_commits(commit, new)}
    files = (replace(one, commit=before.get((one.path, one.oid)) or asked[one.path]) for one in selection.files)
    return Selection(tuple(files), selection.problems, selection.commits)


def peek(hub: Hub, file: HubFile, known: Any, fields: Fields, dataset: str) -> Any:
    """See whether a dataset's first file, if it is JSONL or CSV, has the text column.

    `known` is what the look before has remembered of this; returns what the next one shall. Raises SourceError.
    """
    kind = kind_of(file.path)
    if kind is None or kind[0] == "parquet" or not file.size or known == [file.oid, fields.text]:
        return known
    beginning = partial(hub.read, file, 0, min(file.size, _PEEK_BYTES))
    first = next(text_rows(kind, beginning, file.path, fields), None)
    if isinstance(first, Unreadable) and first.what == "wrong_column":
        raise SourceError(f"Dataset {dataset}: {file.path} {first.why}. Set text_field and its like to columns it has.")
    return [file.oid, fields.text]


def _file(path: Any, size: Any, oid: Any, sha256: Any, commit: Any) -> HubFile:
    """A file as the memo has it."""
    return HubFile(str(path), int(size), str(oid), bool(sha256), str(commit))
