"""Pipelines of spaCy's that find people's names: where one lies, what tells it from others, and which parts are needed.

All of this is read from the pipeline's files; spaCy itself is not imported here, so that a run in which everything is
reused need not load it. spaCy is MIT-licensed and an extra of this project; no pipeline comes with either of them.
"""

import configparser
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data.errors import TextmillError
from data.privacy.config import PrivacyConfig

RULES = 1  # raised by hand when the same entities are replaced in another way; enters the key where names are replaced

HINT = "replacing names needs spaCy: .venv/bin/pip install -c constraints.txt -e '.[names]'"
_DOWNLOAD = ".venv/bin/python -m spacy download en_core_web_sm"
_SHARED = {"tok2vec", "transformer", "curated_transformer"}  # work for others, for those that listen to them
_WITHOUT_ENTITIES = _SHARED | {
    *("tagger", "morphologizer", "parser", "senter", "sentencizer", "attribute_ruler", "lemmatizer"),
    *("trainable_lemmatizer", "textcat", "textcat_multilabel", "spancat", "spancat_singlelabel", "entity_linker"),
}  # factories of spaCy's whose components mark no entity
_BY_THEMSELVES = {"ner", "beam_ner"}  # need nothing but what they listen to; rulers may ask for tags or lemmas


class UnusablePipelineError(TextmillError):
    """A pipeline that is not there or finds no names, or spaCy is not there."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that finds names.

    source    what spaCy loads: the name of a package, or an absolute folder
    version   of the pipeline, and `digest` of all its files
    labels    of the entities that are names
    exclude   its components that finding entities does not need
    spacy     version of the library, and `thinc` of the one that computes for it
    """

    source: str
    name: str
    version: str
    digest: str
    labels: tuple[str, ...]
    exclude: tuple[str, ...]
    spacy: str
    thinc: str

    def identity(self) -> dict[str, Any]:
        """What of it changes documents, JSON-able; where it lies does not."""
        return {
            "pipeline": self.name,
            "version": self.version,
            "digest": self.digest,
            "labels": list(self.labels),
            "libraries": {"spacy": self.spacy, "thinc": self.thinc},
            "rules": RULES,
        }


def pipeline_for(config: PrivacyConfig, personal: bool, root: Path) -> Pipeline | None:
    """The pipeline that finds names in a source, None where they are not replaced; relative folders start at `root`.

    personal  whether the source is of what people wrote to each other

    Raises UnusablePipelineError.
    """
    if not config.names or not config.replaces_names(personal):
        return None
    return find_pipeline(config.names, config.name_labels, root)


def find_pipeline(named: str, labels: Sequence[str], root: Path) -> Pipeline:
    """The pipeline in an installed package or a folder of this name, if it finds entities with any of the labels."""
    libraries = _library_version("spacy"), _library_version("thinc")
    if find_spec("spacy") is None or not all(libraries):
        raise UnusablePipelineError(f"cleaning.names is {named!r}, and {HINT}.")
    source, files, folder = _located(named, root)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        about = f"{meta.get('name', folder.name)} {meta.get('version', '')}"
        components = _components(folder / "config.cfg")
        finders = [name for name, factory in components.items() if factory not in _WITHOUT_ENTITIES]
        listens = _listens(folder / "config.cfg", finders)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, configparser.Error) as error:
        raise UnusablePipelineError(
            f"The spaCy pipeline {folder} (cleaning.names) cannot be read: {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Install it again, e.g. {_DOWNLOAD}."
        ) from error
    if not finders:
        raise UnusablePipelineError(
            f"The spaCy pipeline {about.strip()} (cleaning.names: {named}) has no component that finds entities, only "
            f"{', '.join(components) or 'a tokenizer'}: name one with `ner`, e.g. en_core_web_sm ({_DOWNLOAD})."
        )
    found = [meta.get("labels", {}).get(name) for name in finders]
    known = sorted({label for one in found if one for label in one})
    if all(found) and not set(known) & set(labels):
        raise UnusablePipelineError(
            f"The spaCy pipeline {about.strip()} (cleaning.names: {named}) finds {', '.join(known)}, and "
            f"none of cleaning.name_labels ({', '.join(labels)}): set that to the label that it has for people."
        )
    exclude: list[str] = []
    if all(components[name] in _BY_THEMSELVES for name in finders):
        kept = {*finders, *(name for name, factory in components.items() if listens and factory in _SHARED)}
        exclude = [name for name in components if name not in kept]
    name = "_".join(one for one in (meta.get("lang"), meta.get("name")) if one)
    return Pipeline(
        source, name, str(meta.get("version", "")), _digest(files), tuple(labels), tuple(exclude), *map(str, libraries)
    )


def _located(named: str, root: Path) -> tuple[str, Path, Path]:
    """What spaCy is to load, the folder of all that belongs to it, and the one with its config.cfg and meta.json."""
    spec = find_spec(named) if named.isidentifier() else None
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for config in sorted(package.glob("*/config.cfg")):
            if _is_pipeline(config.parent):
                return named, package, config.parent
    folder = root / Path(named).expanduser()
    if _is_pipeline(folder):
        return str(folder.resolve()), folder, folder
    raise UnusablePipelineError(
        f"cleaning.names is {named!r}, but no package of that name with a spaCy pipeline is installed, nor has the "
        f"folder {folder} one (config.cfg and meta.json). Install one, e.g. {_DOWNLOAD}, or correct the name."
    )


def _is_pipeline(folder: Path) -> bool:
    return (folder / "config.cfg").is_file() and (folder / "meta.json").is_file()


def _components(path: Path) -> dict[str, str]:
    """{component: factory} of those that are in use, in their order."""
    config = _config(path)
    disabled = json.loads(config["nlp"].get("disabled", "[]"))
    names = [name for name in json.loads(config["nlp"]["pipeline"]) if name not in disabled]
    return {name: json.loads(config[f"components.{name}"]["factory"]) for name in names}


def _listens(path: Path, finders: Sequence[str]) -> bool:
    """Whether any of the components computes from what another one has computed."""
    config = _config(path)
    for section in config.sections():
        if any(f"{section}.".startswith(f"components.{name}.") for name in finders):
            architecture = config[section].get("@architectures", "")
            if "Listener" in architecture:
                return True
    return False


def _config(path: Path) -> configparser.RawConfigParser:
    """spaCy's config, of whose values each is JSON."""
    config = configparser.RawConfigParser(strict=False)
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config.read_string(path.read_text(encoding="utf-8"))
    return config


def _digest(folder: Path) -> str:
    """Of the names and contents of all files in a folder, but for what Python compiles there."""
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and "__pycache__" not in one.parts):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        digest.update(os.fsencode(path.relative_to(folder).as_posix()) + b"\0" + content)
    return digest.hexdigest()


def _library_version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
