"""What the doctor finds: one line that says what is, one that says what to do about it."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """`warn` works but not as it should, or not for all; `fail` stops runs, or will."""

    check: str  # such as `python` or `disk of the store`
    level: Level
    what: str
    remedy: str = ""  # empty where nothing needs to be done


def ok(check: str, what: str) -> Finding:
    return Finding(check, "ok", what)


def warn(check: str, what: str, remedy: str) -> Finding:
    return Finding(check, "warn", what, remedy)


def fail(check: str, what: str, remedy: str) -> Finding:
    return Finding(check, "fail", what, remedy)
