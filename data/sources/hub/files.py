"""Which files of a dataset on the hub belong to a config and a split.

In this order: the patterns in the setting `files`; the `configs:` in the front matter of the dataset's README, the way
the hub reads it; the names of folders and files. Where the branch `main` holds no table at all, only a loading script
perhaps, the same is tried on the branch on which the hub keeps its Parquet copy. Knows nothing of what files hold.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from data.facts import counted
from data.formats.decompression import COMPRESSIONS
from data.sources.base import Problem, SourceError
from data.sources.hub.client import CONVERTED, Hub, HubFile, NotOnHubError

KINDS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_MAX_NAMED = 20


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a dataset; `files` are patterns that stand for config and split."""

    config: str | None
    split: str
    files: tuple[str, ...] | None


@dataclass(frozen=True)
class Selection:
    """The files that are wanted, by path, and the commits looked at, by revision."""

    files: tuple[HubFile, ...]
    problems: tuple[Problem, ...]
    commits: dict[str, str]


def kind_of(path: str) -> tuple[str, str | None] | None:
    """Kind of a file by its name, a value of `KINDS`, and its compression; None when it is no table."""
    name = path.lower()
    compression = next((ending for ending in COMPRESSIONS if name.endswith(ending)), None)
    kind = KINDS.get(PurePosixPath(name.removesuffix(compression or "")).suffix)
    return None if kind is None or (kind == "parquet" and compression) else (kind, compression)


def select(hub: Hub, revision: str, wanted: Wanted) -> Selection:
    """The wanted files as the revision has them now. Raises SourceError when there are none."""
    commits = {revision: hub.commit(revision)}
    found, known = _in_revision(hub, commits[revision], wanted)
    if not found and revision == "main" and not any(map(_is_table, known)):
        with suppress(NotOnHubError):
            commits[CONVERTED] = hub.commit(CONVERTED)
            found, known = _in_revision(hub, commits[CONVERTED], wanted)
    if not found:
        raise SourceError(_nothing_found(hub.dataset, commits, wanted, known))
    parquet = [file for file in found if kind_of(file.path) == ("parquet", None)]
    chosen = parquet or [file for file in found if kind_of(file.path)]
    problems = []
    if len(chosen) < len(found):
        others = sorted(file.path for file in set(found) - set(chosen))
        why = "there is Parquet" if parquet else "of kinds that are not read"
        problems.append(Problem("ignored", hub.dataset, f"{counted(len(others), 'file')}, {why}: {_named(others)}"))
    if not chosen:
        raise SourceError(_nothing_found(hub.dataset, commits, wanted, [file.path for file in found]))
    return Selection(tuple(sorted(chosen, key=lambda file: file.path)), tuple(problems), commits)


def _in_revision(hub: Hub, commit: str, wanted: Wanted) -> tuple[list[HubFile], list[str]]:
    """The wanted files of a commit, and all paths that were seen on the way."""
    patterns: Sequence[str] | None = wanted.files
    if patterns is None:
        readme = hub.small_file(commit, "README.md")
        patterns = _of_readme(readme.decode("utf-8", "replace"), wanted, hub.dataset) if readme else None
    folder = _common_folder(patterns) if patterns is not None else ""
    tree = [file for file in hub.tree(commit, folder) if not _is_hidden(file.path)]
    paths = [file.path for file in tree]
    if patterns is not None:
        return [file for file in tree if matches(file.path, patterns)], paths
    names = set(_by_convention([path for path in paths if _is_table(path)], wanted))
    return [file for file in tree if file.path in names], paths


def _of_readme(text: str, wanted: Wanted, dataset: str) -> list[str] | None:
    """Patterns of the wanted config and split, or None when the README describes no files."""
    import yaml

    front = re.match(r"\ufeff?---[^\S\n]*\r?\n(.*?)\r?\n---", text, re.DOTALL)
    try:
        head = yaml.load(front[1], Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if front else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    configs = head.get("configs") if isinstance(head, dict) else None
    configs = configs if isinstance(configs, list) else []
    listed = [one for one in configs if isinstance(one, dict) and (one.get("data_files") or one.get("data_dir"))]
    if not listed:
        return None
    names = [str(one.get("config_name", "default")) for one in listed]
    chosen = [one for one, name in zip(listed, names, strict=True) if name == wanted.config]
    if wanted.config is None:
        chosen = [one for one, name in zip(listed, names, strict=True) if one.get("default") or name == "default"]
        chosen = chosen or (listed if len(listed) == 1 else [])
    if not chosen:
        raise SourceError(
            f"Dataset {dataset} has no config {wanted.config!r}; it has {_named(names)}. Set `config` to one of them."
            if wanted.config is not None
            else f"Dataset {dataset} has several configs: {_named(names)}. Set `config` to one of them."
        )
    return _of_config(chosen[0], wanted, dataset)


def _of_config(config: dict[str, Any], wanted: Wanted, dataset: str) -> list[str]:
    folder = str(config.get("data_dir") or "").strip("/")
    files = config.get("data_files")
    if not files:
        return [f"{folder}/**"]
    by_split: dict[str, list[str]] = {}
    for one in files if isinstance(files, list) else [files]:
        if isinstance(one, dict) and "path" in one:
            by_split.setdefault(str(one.get("split", "train")), []).extend(_texts(one["path"]))
        elif isinstance(one, dict):
            for split, path in one.items():
                by_split.setdefault(str(split), []).extend(_texts(path))
        else:
            by_split.setdefault("train", []).extend(_texts(one))
    if wanted.split not in by_split:
        raise SourceError(
            f"Config {config.get('config_name', 'default')!r} of dataset {dataset} has no split {wanted.split!r}; it "
            f"has {_named(sorted(by_split))}. Set `split` to one of them."
        )
    return [f"{folder}/{path}" if folder else path for path in by_split[wanted.split]]


def _texts(value: Any) -> list[str]:
    return [str(one).removeprefix("./") for one in (value if isinstance(value, list) else [value])]


def _by_convention(paths: Sequence[str], wanted: Wanted) -> list[str]:
    """Files of a config, a folder, and of a split, a word in the names of folders or files, `partial-` before it."""
    if wanted.config is not None:
        folders = {wanted.config, wanted.config.replace("-", "/"), f"data/{wanted.config}"}
        in_config = [path for path in paths if any(path.startswith(f"{folder}/") for folder in folders)]
        if not in_config and wanted.config == "default":
            in_config = list(paths)
    else:
        in_config = _only_config(paths)
    words = {word: split for split, words in _SPLITS.items() for word in words}
    words[wanted.split.lower()] = wanted.split
    pattern = re.compile(rf"(?:^|[-._/ 0-9])({'|'.join(map(re.escape, words))})(?=[-._/ 0-9]|$)")
    said = {path: pattern.findall(path.lower())[-1:] for path in in_config}  # the file's own name says more
    if not any(said.values()) and wanted.split == "train":
        return in_config
    return [path for path, last in said.items() if last and words[last[0]] == wanted.split]


def _only_config(paths: Sequence[str]) -> list[str]:
    """All files, unless they are those of several configs: then those of the one that is called default, or none."""
    tops = {path.split("/")[0] for path in paths if path.count("/") >= 2}
    if len(tops) > 1 and not any(path.count("/") < 2 for path in paths):
        return [path for path in paths if path.startswith("default/")]
    return list(paths)


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns stands for the path; one that is no pattern stands for itself."""
    for pattern in patterns:
        try:
            if re.fullmatch(glob_regex(pattern), path, re.DOTALL):
                return True
        except re.error:  # [z-a]
            if pattern == path:
                return True
    return False


def glob_regex(pattern: str) -> str:
    """A pattern as a regular expression: `*`, `?` and [abc] stay inside a name, `**` crosses folders, {a,b} chooses."""
    tokens = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|\{[^{}]*\}|.", re.DOTALL)
    return "".join(map(_token_regex, tokens.findall(pattern.removeprefix("./").removeprefix("/"))))


def _token_regex(token: str) -> str:
    simple = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in simple:
        return simple[token]
    if len(token) > 2 and token[0] == "[":
        body = token[1:-1]
        inverted = body.startswith("!")
        return f"(?!/)[{'^' if inverted else ''}{re.escape(body[inverted:]).replace(chr(92) + '-', '-')}]"
    if len(token) > 1 and token[0] == "{":
        return f"(?:{'|'.join(glob_regex(one) for one in token[1:-1].split(','))})"
    return re.escape(token)


def _common_folder(patterns: Iterable[str]) -> str:
    """The deepest folder that everything the patterns match lies in; "" for the top."""
    parents = [re.split(r"[*?\[{]", pattern.removeprefix("./").lstrip("/"))[0].split("/")[:-1] for pattern in patterns]
    shared = []
    for names in zip(*parents, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared)


def _is_table(path: str) -> bool:
    """Whether a file is one by its name alone; .json may be anything, so only patterns choose it."""
    return kind_of(path) is not None and not re.search(r"\.json(\.\w+)?$", path.lower())


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _nothing_found(dataset: str, commits: dict[str, str], wanted: Wanted, known: Sequence[str]) -> str:
    place = " and ".join(f"{revision} ({commit[:12]})" for revision, commit in commits.items())
    asked = f"files {list(wanted.files)}" if wanted.files else f"config {wanted.config!r}, split {wanted.split!r}"
    tables = sorted(path for path in known if _is_table(path)) or sorted(known)
    return (
        f"Dataset {dataset} has no Parquet, JSONL or CSV file for {asked} at {place}. There are: "
        f"{_named(tables) or 'no files at all'}. Correct `config`, `split` or `revision`, or name the files: "
        '`files: ["folder/*.parquet"]`.'
    )
