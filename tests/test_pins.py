"""What is installed is what the constraints file says."""

import re
from importlib.metadata import distributions
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
OWN_OR_INSTALLER = {"textmill", "pip", "setuptools", "wheel"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    lines = (line.partition("#")[0].strip() for line in CONSTRAINTS.read_text().splitlines())
    return {canonical(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def test_every_installed_version_is_its_pin():
    installed = {canonical(one.metadata["Name"]): one.version.partition("+")[0] for one in distributions()}
    wrong = {
        name: (version, pins()[name]) for name, version in installed.items() if pins().get(name, version) != version
    }
    assert not wrong, f"installed, pinned: {wrong}. Run make venv-test, or raise the pin on purpose"


def test_everything_installed_is_pinned():
    """Except what a CUDA build of torch brings along on Linux, which torch itself pins."""
    installed = {canonical(one.metadata["Name"]) for one in distributions()} - OWN_OR_INSTALLER
    loose = {name for name in installed - pins().keys() if not re.match(r"nvidia-|triton$|cuda-", name)}
    assert not loose, f"not in {CONSTRAINTS.name}: {sorted(loose)}"


def test_the_pins_that_hold_the_house_together():
    assert pins()["prefect"] == "3.8.8"
    assert tuple(map(int, pins()["fastapi"].split("."))) < (0, 151)
    assert tuple(map(int, pins()["sqlalchemy"].split("."))) < (2, 1), "no schedule would fire"
    assert pins()["torch"] == "2.13.0"
