"""What the tests that kill runs have in common: a run that nobody killed, and stores as it had them on its way."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.kill_harness import STAGE_OF_REF, STAGES, Kill, Outcome, Runner, Write, payloads, write_texts

KILLED = -signal.SIGKILL


class Undisturbed:
    """A run that nobody killed: what it wrote, in order, and what came of it."""

    def __init__(self, runner: Runner, root: Path) -> None:
        outcome = runner.run(root)
        assert outcome.code == 0, outcome.output
        self.root, self.writes, self.payloads = root, outcome.writes, payloads(root)

    def once(self, stage: str) -> list[Write]:
        """The writes of a stage that come once in the life of their process, and so in any later run, too."""
        return [write for write in self.writes if write.stage == stage and write.nth == 1]

    def named(self, stage: str) -> Write:
        """The rename that publishes the last artifact of a stage."""
        return [w for w in self.once(stage) if w.event == "os.rename" and w.path.startswith(f"{stage}/")][-1]

    def saves(self, step: int) -> Write:
        """The trainer's first write of its checkpoint of a step."""
        name = f".partial-step-{step:09d}"
        return next(w for w in self.once("model") if w.event == "os.mkdir" and w.path.endswith(f"/{name}"))


@pytest.fixture(scope="module")
def kill_folder(tmp_path_factory):
    """Texts and stores of a file's runs."""
    return tmp_path_factory.mktemp("kill")


@pytest.fixture(scope="module")
def kill_runner(kill_folder, starting_server):
    """Runs the recipe, on the session's server."""
    write_texts(kill_folder / "texts")
    with Runner(kill_folder / "runs", kill_folder / "texts", starting_server.api) as runner:
        starting_server.wait()  # while the runner imports
        yield runner


@pytest.fixture(scope="module")
def undisturbed(kill_runner, kill_folder):
    """A whole run."""
    return Undisturbed(kill_runner, kill_folder / "undisturbed")


def check_killed(outcome: Outcome, kill: Kill) -> None:
    """The kill came about, and ended the run as such a kill ends a run."""
    assert outcome.hit, outcome.output
    of_the_run = kill.at.role == "flow" or kill.victim != "self"
    assert outcome.code == (KILLED if of_the_run else 1), outcome.output


def up_to(undisturbed: Undisturbed, stage: str, root: Path) -> None:
    """A store as the undisturbed run had it before a stage."""
    shutil.copytree(undisturbed.root, root)
    for later in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(root / later)
    for name, stage_of_ref in STAGE_OF_REF.items():
        if STAGES.index(stage_of_ref) >= STAGES.index(stage):
            shutil.rmtree(root / "refs" / name)
