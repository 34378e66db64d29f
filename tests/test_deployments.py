"""prefect.yaml as a whole: what it deploys is valid, named as its recipe, and asleep until told.

That the entrypoints import in a fresh process is seen in test_floors.py, and that a real server takes all of it in
test_prefect_server.py.
"""

import importlib

import pytest
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ParameterTypeError

from flows.recipe import Recipe, RecipeError
from flows.recipes import PIPELINE, load_deployments, load_recipe, recipe_values
from flows.start import start_run
from tasks.events import resource_id
from tasks.launch import Launch
from tasks.runtime import Runtime
from tasks.trainer_slot import limit_of

DEPLOYMENTS = {f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}": one for one in load_deployments()}
BY_NAME = ["corpus/recipe", "tokenizer/recipe", "training/recipe", "evaluation/recipe"]


def flow_of(deployment):
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_no_two_deployments_share_a_name():
    assert len(DEPLOYMENTS) == len(load_deployments())


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_is_what_its_flow_takes(name):
    deployment = DEPLOYMENTS[name]
    taken = flow_of(deployment).validate_parameters(deployment["parameters"])
    assert deployment["parameters"].keys() == {"recipe"}, "other parameters would replace the flow's defaults whole"
    recipe = taken["recipe"]
    assert isinstance(recipe, Recipe | str)
    if isinstance(recipe, Recipe):
        assert recipe.name == deployment["name"]
    else:
        assert load_recipe(recipe).name == recipe
    assert deployment["tags"] == ["textmill", "resumable"] and deployment["work_pool"]["name"] == "local"
    limit = deployment["concurrency_limit"]
    assert limit["limit"] >= 1 and limit["collision_strategy"] in ("ENQUEUE", "CANCEL_NEW")
    assert not any(schedule["active"] for schedule in deployment.get("schedules", ())), "runs without being asked to"
    assert all(schedule["slug"] for schedule in deployment.get("schedules", ())), "lost when deployed again"
    for trigger in deployment.get("triggers", ()):
        found = DeploymentEventTrigger.model_validate(trigger)
        assert found.enabled is name.startswith("retrain/") and found.expect == {"corpus.updated"}
        if found.enabled:
            resource = {"prefect.resource.id": resource_id("corpus.updated", deployment["name"])}
            assert trigger["match"] == resource


def test_every_recipe_has_its_pipeline_and_the_other_flows_take_any():
    pipelines = [name.partition("/")[2] for name, one in DEPLOYMENTS.items() if one["entrypoint"] == PIPELINE]
    retrains = [name.partition("/")[2] for name in DEPLOYMENTS if name.startswith("retrain/")]
    assert list(recipe_values()) == pipelines == retrains
    assert set(BY_NAME) <= DEPLOYMENTS.keys()


@pytest.mark.parametrize("name", ["pipeline/folder", *BY_NAME])
def test_a_flow_refuses_stages_that_are_none(name):
    flow = flow_of(DEPLOYMENTS[name])
    given = DEPLOYMENTS[name]["parameters"]
    taken = flow.validate_parameters(
        given | {"refresh": ["tokens"], "until": "corpus", "overrides": {"training.steps": 500}}
    )
    assert (taken["refresh"], taken["until"]) == (["tokens"], "corpus")
    for wrong in ({"refresh": ["token"]}, {"until": "copus"}, {"runtime": {"worker": 2}}):
        with pytest.raises(ParameterTypeError):
            flow.validate_parameters(given | wrong)


def test_a_recipe_goes_by_its_name(tmp_path):
    runtime = Runtime(store=str(tmp_path))
    recipe, run = start_run("folder", {"training.steps": 500}, [], None, runtime)
    assert (recipe.name, run.recipe_name, recipe.training.steps) == ("folder", "folder", 500)
    with pytest.raises(RecipeError, match=r"foldr.*did you mean folder"):
        start_run("foldr", {}, [], None, runtime)


@pytest.mark.parametrize(
    ("processes", "device", "cards", "limit"),
    [
        (1, "auto", 0, ("trainer-mill-cpu", 1, 1)),
        (2, "cpu", 4, ("trainer-mill-cpu", 1, 1)),
        (1, "auto", 4, ("trainer-mill-gpu", 4, 1)),
        (3, "cuda", 4, ("trainer-mill-gpu", 4, 3)),
    ],
)
def test_a_trainer_takes_a_card_for_each_of_its_processes(processes, device, cards, limit):
    assert limit_of(Launch(processes), device, "mill", cards) == limit
