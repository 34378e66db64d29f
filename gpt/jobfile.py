"""Reading a job (RUN.json, EVAL.json, SAMPLE.json) into dataclasses, strictly.

A key that is missing, unknown or of the wrong type is a GPTError that names the file, the dotted key and what was
expected. Knows the JSON types and dataclasses; what a job means is said by `gpt.jobs`.
"""

import dataclasses
import difflib
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from gpt.errors import GPTError

Job = TypeVar("Job")


def read_job(kind: type[Job], path: Path) -> Job:
    """Read a JSON file into the dataclass `kind`; raises GPTError in one line when it does not fit."""
    return build(kind, read_json(path), str(path), "")


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises GPTError when it is absent or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GPTError(f"Cannot read {path}: {error.strerror}. Name an existing file.") from None
    except ValueError as error:
        raise GPTError(f"{path} is not valid JSON: {error}.") from None


def build(kind: Any, value: Any, where: str, key: str) -> Any:
    """Turn a JSON value into `kind`: dataclass, plain type, Path, Literal, Optional, tuple[X, ...] or dict[str, X]."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where, key)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return build(next(a for a in arguments if a is not type(None)), value, where, key)
    if origin is typing.Literal:
        if value not in arguments:
            _refuse(where, key, value, "one of " + ", ".join(json.dumps(a) for a in arguments))
        return value
    if origin is tuple:
        if not isinstance(value, list):
            _refuse(where, key, value, "a list")
        return tuple(build(arguments[0], item, where, f"{key}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            _refuse(where, key, value, "an object")
        return {name: build(arguments[1], item, where, f"{key}.{name}") for name, item in value.items()}
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", Path: "a path"}
    return _refuse(where, key, value, names[kind])


def _build_dataclass(kind: Any, value: Any, where: str, key: str) -> Any:
    if not isinstance(value, dict):
        _refuse(where, key, value, "an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{key}." if key else ""
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(fields)}."
            raise GPTError(f"{where}: unknown key {prefix}{name}; {hint}")
    hints = typing.get_type_hints(kind)
    found = {name: build(hints[name], item, where, prefix + name) for name, item in value.items()}
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in found and not optional:
            raise GPTError(f"{where}: the key {prefix}{name} is missing; add it.")
    try:
        return kind(**found)
    except ValueError as error:
        raise GPTError(f"{where}: {key or 'the job'}: {error}") from None


def _refuse(where: str, key: str, value: Any, expected: str) -> typing.NoReturn:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    raise GPTError(f"{where}: {key or 'the file'} is {shown}, but it must be {expected}.")
