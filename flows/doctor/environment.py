"""Python, the virtual environment, and what is installed in it, compared with the constraints file."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from urllib.parse import unquote, urlparse

from flows.doctor.finding import Finding, fail, ok, warn
from tasks.runtime import PROJECT_ROOT

CONSTRAINTS = PROJECT_ROOT / "constraints.txt"
PYTHONS = (3, 11), (3, 13)
NAMED = 4  # packages named in one line
INSTALL = f"{sys.executable} -m pip install -c {CONSTRAINTS} -e {PROJECT_ROOT}"


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Whether this Python is one that the pinned set installs on."""
    low, high = (".".join(map(str, one)) for one in PYTHONS)
    here = f"Python {'.'.join(map(str, version))} at {sys.executable}"
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return ok("python", here)
    return fail("python", f"{here}, but Textmill needs {low} to {high}", "make clean, then make venv PYTHON=python3.12")


def check_venv(prefix: str = sys.prefix, base: str = sys.base_prefix) -> Finding:
    """Whether packages are in an environment of their own, and are this checkout's."""
    if prefix == base:
        return warn(
            "environment",
            f"{prefix} is the system's Python: its packages are shared with whatever else uses it",
            f"make venv in {PROJECT_ROOT}, then use .venv/bin/textmill",
        )
    installed = installed_from()
    if installed is not None and installed != PROJECT_ROOT:
        return warn(
            "environment",
            f"{prefix} has Textmill installed from {installed}, but this is {PROJECT_ROOT}: a worker started elsewhere "
            "would run that one",
            INSTALL,
        )
    return ok("environment", f"{prefix}, Textmill from {PROJECT_ROOT}")


def installed_from() -> Path | None:
    """The checkout from which Textmill is installed; None if it is not, or not editable."""
    try:
        text = distribution("textmill").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    url = urlparse(json.loads(text)["url"]) if text else None
    return Path(unquote(url.path)).resolve() if url and url.scheme == "file" else None


def check_pins(path: Path = CONSTRAINTS, installed: Iterable[Distribution] | None = None) -> list[Finding]:
    """What differs from its pin, and what Textmill needs and is not there."""
    try:
        pins = read_pins(path.read_text(encoding="utf-8"))
    except OSError as error:
        return [fail("pins", f"{path} cannot be read: {error.strerror}", "restore it: git checkout constraints.txt")]
    there = versions(distributions() if installed is None else installed)
    wrong = [f"{name} {there[name]} (pinned {pin})" for name, pin in pins.items() if there.get(name, pin) != pin]
    missing = [name for name in needed() if name not in there]
    findings = []
    if missing:
        findings.append(fail("packages", f"not installed: {_named(missing)}", INSTALL))
    if wrong:
        what = f"{len(wrong)} of {len(pins)} pins differ: {_named(wrong)}"
        findings.append(fail("pins", what, INSTALL))
    else:
        count = sum(name in there for name in pins)
        findings.append(ok("pins", f"{count} packages installed as {path.name} pins them"))
    return findings


def read_pins(text: str) -> dict[str, str]:
    """{canonical name: version} of a constraints file."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    split = (line.partition("==") for line in lines if "==" in line)
    return {canonical(name): version.partition(";")[0].strip() for name, _, version in split}


def versions(installed: Iterable[Distribution]) -> Mapping[str, str]:
    """{canonical name: version} without local parts such as `+cu126`; of two with one name the first is imported."""
    found: dict[str, str] = {}
    for one in installed:
        name = one.metadata["Name"]
        if name:
            found.setdefault(canonical(name), one.version.partition("+")[0])
    return found


def needed() -> list[str]:
    """The packages that Textmill itself asks for, without those of its extras."""
    try:
        asked = distribution("textmill").requires or []
    except PackageNotFoundError:
        return ["textmill"]
    plain = (one for one in asked if "extra ==" not in one)
    return [canonical(match[0]) for one in plain if (match := re.match(r"[A-Za-z0-9._-]+", one))]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower().strip()


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
