"""What must not change while a run is interrupted, and the refusal when it has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt.errors import GPTError

RESTORE = "Restore the old values, or train in a new run_dir (delete this one to start over)."


def refuse_other_identity(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path, remedy: str = RESTORE
) -> None:
    """Raise GPTError naming each differing field with both values, unless the identities are equal."""
    before, now = flat_identity(saved), flat_identity(wanted)
    differing = [
        f"{key} is {now.get(key, 'absent')!r} and was {before.get(key, 'absent')!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise GPTError(f"{folder} cannot be continued: {'; '.join(differing)}. {remedy}")


def flat_identity(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with dotted keys."""
    if not isinstance(value, Mapping):
        return {prefix: list(value) if isinstance(value, tuple) else value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flat_identity(item, f"{prefix}.{key}" if prefix else key)
    return flat
