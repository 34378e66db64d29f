"""Image, compose file and Kubernetes templates, as far as that can be told without an engine."""

import fnmatch
import importlib
import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import prefect
import pytest
import yaml
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.root import Settings
from prefect.utilities.templating import apply_values
from prefect.workers.base import BaseJobConfiguration

from flows.cli import app
from flows.recipes import recipe_values
from tasks import join
from tasks.runtime import Runtime

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TEMPLATE = json.loads((DEPLOY / "kubernetes.json").read_text())
PUBLISHED = Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"
YAMLS = sorted(DEPLOY.glob("*.yaml"))


def instructions():
    """(name, arguments) of each instruction of the Dockerfile, lines that go on joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def documents(path):
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def all_texts():
    return {path.name: path.read_text() for path in (ROOT / "Dockerfile", *DEPLOY.iterdir())}


def test_images_have_short_names():
    """And none comes from a host of its own, or without a version."""
    stages = set()
    for name, arguments in instructions():
        if name == "FROM":
            image, _, stage = arguments.partition(" AS ")
            assert image in stages | {"${VARIANT}"} or re.fullmatch(r"[a-z]+:[\w${}.-]+", image), image
            stages.add(stage)
    assert {"cpu", "cuda"} <= stages
    images = [one["image"] for one in documents(DEPLOY / "compose.yaml")[0]["services"].values()]
    assert all("/" not in image for image in images) and {"textmill", "textmill:cuda", "postgres:16"} == set(images)


def test_python_of_the_image_is_one_that_is_supported():
    chosen = dict(line.split("=") for name, line in instructions() if name == "ARG" and "=" in line)["PYTHON"]
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert asked == ">=3.11,<3.14" and (3, 11) <= tuple(map(int, chosen.split("."))) < (3, 14)


def test_what_is_copied_is_there_and_not_ignored():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] not in "#!"]
    copied = [one for name, line in instructions() if name == "COPY" for one in line.split()[:-1]]
    assert {"constraints.txt", "pyproject.toml"} <= set(copied)
    needed = [one for one in copied if one != "."] + ["flows", "tasks", "gpt", "data", "prefect.yaml"]
    for one in needed:
        assert (ROOT / one).exists(), one
        assert not any(fnmatch.fnmatch(one, pattern.removeprefix("**/")) for pattern in ignored), one
    for secret in ("**/.env", "**/*.env", ".git", ".venv", ".prefect", ".prefect-postgres"):
        assert secret in ignored


def test_everything_is_installed_under_the_constraints():
    installs = re.findall(r"pip install [^&;]+", " ".join(line for name, line in instructions() if name == "RUN"))
    assert len(installs) == 1 and all("--constraint constraints.txt" in one for one in installs)
    assert any("--editable" in one for one in installs), "deployments' entrypoints are dotted"


def test_packages_made_before_they_are_filled_are_found_afterwards(tmp_path):
    """The image installs in a layer before our files come: what setuptools then wrote must find them."""
    made = next(line for name, line in instructions() if name == "RUN" and "--editable" in line)
    folders = shlex.split(made.partition("&&")[0])
    assert folders[0] == "mkdir" and set(folders[1:]) == {"flows", "tasks", "gpt", "data"}
    touched = re.search(r"touch ((?:\S+/__init__\.py ?)+)", made)
    assert touched and {one.partition("/")[0] for one in touched[1].split()} == set(folders[1:])


def test_commands_that_are_named_exist():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    seen = set()
    for name, text in all_texts().items():
        for module in re.findall(r'-m"?,? "?((?:flows|tasks|gpt)[.\w]*)', text):
            assert importlib.util.find_spec(module), f"{name}: {module}"
            seen.add(module)
        for command in re.findall(r'(?:exec textmill |"textmill", ")([a-z]+)', text):
            assert command in commands, f"{name}: textmill {command}"
            seen.add(command)
    assert {"flows.deploy", "flows.server", "tasks.join", "run", "doctor"} <= seen


def test_settings_of_prefects_that_are_named_exist():
    known = {name.upper() for name in _get_settings_fields(Settings)}
    for name, text in all_texts().items():
        for setting in re.findall(r"\bPREFECT_[A-Z_]+\b", text):
            assert setting in known, f"{name}: {setting}"


def test_the_compose_file_stands_by_itself():
    [compose] = documents(DEPLOY / "compose.yaml")
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        named = [one.partition(":")[0] for one in service.get("volumes", []) if one[0].isalpha()]
        assert set(named) <= set(compose["volumes"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would be open to others"
    server, worker = compose["services"]["server"], compose["services"]["worker"]
    assert worker["environment"]["PREFECT_API_AUTH_STRING"] == server["environment"]["PREFECT_SERVER_API_AUTH_STRING"]
    assert "postgresql+asyncpg://" in server["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert compose["services"]["worker-cuda"]["build"]["args"]["VARIANT"] == "cuda"
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|KEY|AUTH_STRING", name):
                assert value.startswith("${"), f"{name}: secrets come from outside"


def job(**values):
    """What Prefect's worker makes of the template and these variables, and the variables themselves."""
    properties = TEMPLATE["variables"]["properties"]
    jsonschema.validate(values, TEMPLATE["variables"])
    variables = BaseJobConfiguration._get_base_config_defaults(properties) | values
    return apply_values(TEMPLATE["job_configuration"], variables)["job_manifest"], variables


def test_the_template_is_one_for_prefects_kubernetes_worker():
    published = json.loads(PUBLISHED.read_text())["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
    ours, theirs = TEMPLATE["job_configuration"], published["job_configuration"]
    assert ours.keys() == theirs.keys() - {"cluster_config"}
    assert ours["job_manifest"].keys() == theirs["job_manifest"].keys()
    [container] = ours["job_manifest"]["spec"]["template"]["spec"]["containers"]
    [theirs] = theirs["job_manifest"]["spec"]["template"]["spec"]["containers"]
    for name in ("name", "env", "image", "imagePullPolicy", "args"):
        assert container[name] == theirs[name]
    jsonschema.Draft202012Validator.check_schema(TEMPLATE["variables"])


def test_variables_and_their_places_fit():
    properties = TEMPLATE["variables"]["properties"]
    placed = set(re.findall(r"{{ (\w+) }}", json.dumps(TEMPLATE["job_configuration"])))
    assert placed == set(properties)
    for name, one in properties.items():
        assert one["description"], name
        if "default" in one:
            jsonschema.validate(one["default"], one)


def test_a_job_with_cards_has_its_volumes_and_secrets():
    manifest, variables = job(gpus=2, env={"TEXTMILL_STORE": "/store"}, node_selector={"kind": "gpu"})
    assert "{{" not in json.dumps(manifest) and "labels" not in manifest["metadata"], "what is not set is left out"
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": 2}
    assert pod["nodeSelector"] == {"kind": "gpu"} and container["env"] == {"TEXTMILL_STORE": "/store"}
    assert container["envFrom"] == [{"secretRef": {"name": variables["secret_name"], "optional": True}}]
    check_pod(pod)
    claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    assert claims == {one["metadata"]["name"] for one in documents(DEPLOY / "kubernetes-claims.yaml")}
    with pytest.raises(jsonschema.ValidationError):
        job(gpus="two")


def check_pod(pod):
    """Mounts name volumes, paths are the image's, and nothing runs as root."""
    [container] = pod["containers"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    paths = {one["mountPath"] for one in container["volumeMounts"]}
    assert {"/store", "/srv/textmill/texts"} <= paths
    folders = re.search(r"mkdir -p ([/\w ]+)", DOCKERFILE)[1].split()
    assert all(path.startswith((*folders, "/tmp", "/dev/shm")) for path in paths)
    assert pod["securityContext"]["runAsNonRoot"] and pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsUser"] == int(re.search(r"--uid (\d+)", DOCKERFILE)[1])


def test_the_example_of_several_machines_agrees_with_itself():
    service, training = documents(DEPLOY / "kubernetes-training.yaml")
    spec = training["spec"]
    pod = spec["template"]["spec"]
    check_pod(pod)
    assert spec["completions"] == spec["parallelism"] and spec["completionMode"] == "Indexed"
    assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
    assert service["metadata"]["name"] == pod["subdomain"] and service["spec"]["publishNotReadyAddresses"]
    [container] = pod["containers"]
    told = {one["name"]: one["value"] for one in container["env"]}
    host, _, port = told["MEET"].rpartition(":")
    assert host == f"{training['metadata']['name']}-0.{pod['subdomain']}"
    assert int(port) == service["spec"]["ports"][0]["port"] and told["RECIPE"] in recipe_values()
    script = container["command"][-1]
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
    first = dict(re.findall(r"--runtime (\w+)=(\S+)", script))
    assert first.keys() <= Runtime.model_fields.keys()
    assert int(first["nnodes"]) == spec["completions"] == int(re.search(r"--nnodes (\d+)", script)[1])


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_what_is_for_kubernetes_says_what_it_is(path):
    for one in documents(path):
        if path.name.startswith("kubernetes"):
            assert {"apiVersion", "kind", "metadata", "spec"} == one.keys()


def test_joining_ends_with_one_line_when_there_is_nothing_to_join(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path))
    assert join.main(["--node", "2", "--nnodes", "2", "--rendezvous", "127.0.0.1:9"]) == 1
    assert "--node is 2" in capsys.readouterr().err
    monkeypatch.setattr(join, "POLL", 0.05)
    assert join.main(["--node", "1", "--nnodes", "2", "--rendezvous", "127.0.0.1:9", "--patience", "0.1"]) == 1
    assert "was announced in" in capsys.readouterr().err


def test_the_newest_training_that_meets_there_is_joined(tmp_path):
    for number, meets in enumerate(["a:1", "a:1", "b:2"]):
        keep = tmp_path / "work" / f"model-{number}" / "keep"
        keep.mkdir(parents=True)
        (keep / "JOIN").write_text(f"{meets}\n")
        os.utime(keep / "JOIN", (number, number))
    found = join.announced(tmp_path, "a:1")
    assert [path.parents[1].name for path in found] == ["model-1", "model-0"] and found[0].name == "RUN.json"
