"""No floor reaches up, and each imports only what it may; read from the source and seen in fresh processes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from flows.recipes import load_deployments

ROOT = Path(__file__).parents[1]
OURS = {"data", "gpt", "tasks", "flows", "tests", "artifacts"}
MAY_IMPORT = {
    "data": {"data"},
    "gpt": {"gpt"},
    "tasks": {"tasks", "gpt", "data"},
    "flows": {"flows", "tasks", "gpt", "data"},
}
FORBIDDEN = {"data": {"torch", "prefect"}, "gpt": {"prefect", "pydantic"}, "tasks": set(), "flows": set()}


def imports(path: Path) -> set[str]:
    """Top-level names of every import statement in a file, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; imports are absolute here"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("floor", MAY_IMPORT)
def test_no_floor_reaches_up(floor):
    files = list((ROOT / floor).rglob("*.py"))
    assert files, "a floor without files means that this test looks in the wrong place"
    for path in files:
        names = imports(path)
        assert names & OURS <= MAY_IMPORT[floor], f"{path} reaches up to {names & OURS - MAY_IMPORT[floor]}"
        assert not names & FORBIDDEN[floor], f"{path} imports {names & FORBIDDEN[floor]}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("data.corpus", {"torch", "prefect"}),
        ("data.tokens", {"torch", "prefect"}),
        ("gpt.train", {"torch", "prefect", "pydantic"}),
        ("gpt.trainer", {"prefect", "pydantic", "data", "tasks"}),
        ("flows.cli", {"torch", "prefect"}),
    ],
)
def test_heavy_libraries_stay_out(module, absent):
    assert not libraries_after(f"import {module}") & absent


def libraries_after(code: str) -> set[str]:
    """What a fresh process has imported after it ran the code."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    return {name.partition(".")[0] for name in loaded.split()}


EACH_ALONE = """
import importlib, os, sys, traceback
from prefect import Flow
for entrypoint in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            module, _, name = entrypoint.rpartition(".")
            assert isinstance(getattr(importlib.import_module(module), name), Flow)
            assert "torch" not in sys.modules
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, entrypoint
"""


def test_entrypoints_import_each_in_a_process_without_the_others_and_without_torch():
    entrypoints = sorted({one["entrypoint"] for one in load_deployments()})
    assert len(entrypoints) > 4
    done = subprocess.run([sys.executable, "-c", EACH_ALONE, *entrypoints], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


def test_packages_are_empty_and_storage_is_no_code():
    for init in (path for folder in OURS - {"artifacts"} for path in (ROOT / folder).rglob("__init__.py")):
        assert init.read_text() == "", f"{init} holds code; packages are empty here"
    assert not list((ROOT / "artifacts").glob("*.py"))
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert not [line for line in ignored if line.strip("/*") == "data"], "data/ is code, no ignore file may name it"
