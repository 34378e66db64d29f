"""What the doctor finds in surroundings that are really broken: pins, disks, folders, clocks, servers, secrets."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions, version

import pytest

from data.digests import text_digest
from data.facts import Facts
from data.locks import owner_lock
from data.manifest import Identity
from data.sources.registry import source_kinds
from data.sources.secrets import FIELDS, named_by
from data.store import Store
from flows import cli_doctor
from flows.cli import app, run_app
from flows.doctor import disk, environment, gpu, secrets, server
from flows.recipes import load_recipe
from tests.prefect_servers import free_port

PREFECT = version("prefect")


def levels(findings):
    return {finding.check: finding.level for finding in findings}


# -- environment -----------------------------------------------------------------------------------------------------


def test_python_outside_the_range_fails():
    assert environment.check_python((3, 10)).level == environment.check_python((3, 14)).level == "fail"
    assert environment.check_python((3, 13)).level == "ok"


def test_the_systems_python_is_named():
    assert environment.check_venv("/usr", "/usr").level == "warn"


def fake_distribution(folder, name, number):
    info = folder / f"{name}-{number}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_a_package_before_the_pinned_one_on_the_path_is_the_wrong_pin(tmp_path, monkeypatch):
    assert levels(environment.check_pins()) == {"pins": "ok"}
    fake_distribution(tmp_path, "Typing_Extensions", "0.0.1")
    fake_distribution(tmp_path, "numpy", "99.0+local")
    monkeypatch.syspath_prepend(str(tmp_path))
    [found] = environment.check_pins()
    assert found.level == "fail"
    assert "2 of" in found.what and "typing-extensions 0.0.1 (pinned " in found.what and "numpy 99.0 (" in found.what


def test_what_is_asked_for_and_not_there_is_named(tmp_path):
    some = [one for one in distributions() if one.metadata["Name"] != "torch"]
    missing = environment.check_pins(installed=some)[0]
    assert missing.level == "fail" and missing.what == "not installed: torch"


def test_constraints_that_are_not_there_are_said(tmp_path):
    [found] = environment.check_pins(tmp_path / "none.txt")
    assert found.level == "fail" and "none.txt" in found.what


# -- GPU -------------------------------------------------------------------------------------------------------------


def probe(code):
    return gpu.start_probe(code)


@pytest.mark.parametrize(
    ("told", "cards", "level", "words"),
    [
        ({"torch": "2", "cuda": None, "mps": "no", "name": "H100"}, 1, "ok", "a kernel ran on H100"),
        (
            {"torch": "2", "cuda": "no kernel image", "mps": "no", "name": None},
            2,
            "warn",
            "2 NVIDIA cards.*no kernel i",
        ),
        ({"torch": "2", "cuda": "no driver", "mps": "no", "name": None}, 0, "ok", "on the CPU: no driver"),
    ],
)
def test_what_the_probe_tells_is_weighed(told, cards, level, words):
    found = gpu.check_gpu(probe(f"print('noise'); print({json.dumps(told)!r})"), cards)
    assert found.level == level and re.search(words, found.what)


def test_a_torch_that_does_not_import_or_hangs_fails():
    found = gpu.check_gpu(probe("raise ImportError('libcudart.so.12 is missing')"), 1)
    assert found.level == "fail" and "libcudart.so.12 is missing" in found.what
    assert gpu.check_gpu(probe("import time; time.sleep(60)"), 1, patience=0.2).level == "fail"


# -- disks, folders, dates, leftovers --------------------------------------------------------------------------------


@contextmanager
def mounted(folder, *options):
    """A small file system of its own; skips where none may be mounted."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_fails(tmp_path):
    with mounted(tmp_path / "disk", "-o", "size=130m") as folder:
        store = folder / "store"
        assert levels(disk.check_disks({"store": store}, 0)) == {"disk of store": "ok"}
        [found] = disk.check_disks({"store": store, "scratch": tmp_path}, 200_000_000)[:1]
        assert found.level == "warn" and "the last run takes 200.0 MB" in found.what
        with (folder / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, 40_000_000)
        [found] = disk.check_disks({"store": store}, 0)
        assert found.level == "fail" and "free at" in found.what and "TEXTMILL_STORE" in found.remedy


def test_places_on_one_disk_are_one_finding(tmp_path):
    assert list(levels(disk.check_disks({"a": tmp_path / "x", "b": tmp_path / "y"}, 0))) == ["disk of a, b"]


def test_a_read_only_folder_fails(tmp_path):
    with mounted(tmp_path / "disk", "-o", "ro") as folder:
        found = disk.check_writable("store", folder / "store")
    assert found.level == "fail" and os.strerror(errno.EROFS) in found.what


def test_somebody_elses_folder_is_named(tmp_path):
    assert disk.check_writable("store", tmp_path / "new").level == "ok"
    found = disk.check_writable("store", tmp_path, user=os.geteuid() + 12345)
    assert found.level == "warn" and f"user {os.geteuid() + 12345}" in found.what


def built(store, stage, inputs=(), text="x" * 1000):
    def make(build):
        (build.out / "text").write_text(text)
        return Facts()

    return store.build(Identity(stage, 1, {"text": text_digest(text + stage)}, {}, {}), "name", make, inputs)


def test_the_last_run_is_all_that_the_newest_result_rests_on(tmp_path):
    store = Store(tmp_path)
    assert disk.last_run_bytes(store) == 0 and disk.check_dates(store).level == "ok"
    built(store, "raw", text="of another run" * 10)
    raw = built(store, "raw")
    documents = built(store, "documents", [raw])
    model = built(store, "model", [documents, raw])
    files = [path for ref in (raw, documents, model) for path in store.path(ref).rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files if path.name != "manifest.json"]
    assert disk.last_run_bytes(store) == sum(sizes) > 3000
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert disk.check_dates(store).level == "ok"
    assert disk.check_dates(store, yesterday).level == "warn", "the clock was set back by a day"


def test_what_dead_runs_left_is_told_from_what_is_being_built(tmp_path):
    store = Store(tmp_path)
    assert disk.check_leftovers(store).level == "ok"
    for name in ("model-aa", "model-bb"):
        (tmp_path / "work" / name / "keep").mkdir(parents=True)
        (tmp_path / "work" / name / "keep" / "state").write_bytes(b"x" * 5000)
    with owner_lock(tmp_path / "work" / "model-aa.lock"):
        found = disk.check_leftovers(store)
    assert found.level == "warn"
    assert "1 unfinished" in found.what and "model-bb" in found.what and "5.0 kB" in found.what
    assert "1 being built now" in found.what and "model-aa" not in found.what
    assert "textmill gc --work 7" in found.remedy
    aside = tmp_path / "raw" / ".replaced" / f"x-{'ab' * 8}"
    aside.mkdir(parents=True)
    (aside / "half").write_bytes(b"x" * 1000)
    found = disk.check_leftovers(store)
    assert "3 unfinished" in found.what and "raw/.replaced/x" in found.what and "11.0 kB" in found.what
    with owner_lock(tmp_path / "work" / f"raw-{'ab' * 8}.lock"):
        assert "2 unfinished" in disk.check_leftovers(store).what


def test_a_clock_that_was_set_meanwhile_is_seen():
    assert cli_doctor.check_jump(3.1, 3.0).level == "ok"
    assert cli_doctor.check_jump(-3597.0, 3.0).level == "warn"


# -- server ----------------------------------------------------------------------------------------------------------


class Stub(BaseHTTPRequestHandler):
    """Answers as the server's `told` says, {path: value or status}; `skew` is what its clock is ahead."""

    def answer(self):
        value = self.server.told.get(self.path.removeprefix("/api/"), 404)
        self.server.logins.append(self.headers["Authorization"])
        body = json.dumps(value).encode()
        self.send_response_only(value if isinstance(value, int) else 200)
        if self.server.skew is not None:
            self.send_header("Date", formatdate(time.time() + self.server.skew, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def log_message(self, *_):
        pass


@pytest.fixture
def stub():
    http = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    http.told, http.skew, http.logins = {"admin/version": PREFECT}, 0.0, []
    http.url = f"http://127.0.0.1:{http.server_port}/api"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


def looked(stub, *pools, **more):
    return {one.check: one for one in server.check_server({"PREFECT_API_URL": stub.url, **more}, list(pools))}


def test_without_an_address_and_with_a_closed_port(tmp_path):
    nowhere = {"PREFECT_HOME": str(tmp_path)}
    assert [one.level for one in server.check_server(nowhere, ["local"])] == ["ok"]
    closed = f"http://127.0.0.1:{free_port()}/api"
    (tmp_path / "profiles.toml").write_text(f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{closed}"\n')
    [found] = server.check_server(nowhere, ["local"])
    assert found.level == "fail" and closed in found.what and "refused" in found.what and "make ui" in found.remedy


@pytest.mark.parametrize(("theirs", "level"), [("2.20.0", "fail"), ("3.7.1", "fail"), (PREFECT + "1", "warn")])
def test_a_server_of_another_version(stub, theirs, level):
    stub.told["admin/version"] = theirs
    found = looked(stub)["server"]
    assert found.level == level and theirs in found.what and PREFECT in found.what


@pytest.mark.parametrize(
    ("skew", "level"), [(0.0, "ok"), (30.0, "warn"), (-30.0, "warn"), (3600.0, "fail"), (None, "warn")]
)
def test_a_server_with_another_clock(stub, skew, level):
    stub.skew = skew
    assert looked(stub)["clock"].level == level


def test_a_server_that_wants_a_login(stub):
    stub.told["admin/version"] = 401
    found = looked(stub, PREFECT_API_AUTH_STRING="user:marker")["server"]
    assert found.level == "fail" and "PREFECT_API_AUTH_STRING" in found.remedy and "marker" not in repr(found)
    assert stub.logins == ["Basic dXNlcjptYXJrZXI="]  # base64 -w0 <<< user:marker, without the line end


def test_an_address_that_is_no_api(stub):
    stub.told = {}
    assert "404" in looked(stub)["server"].what


def test_workers_and_their_pool(stub):
    assert looked(stub, "local")["worker of local"].what.startswith("there is no work pool")
    stub.told |= {"work_pools/local": {"type": "process"}, "work_pools/local/workers/filter": []}
    assert looked(stub, "local")["worker of local"].level == "warn"
    workers = [{"name": "one", "status": "OFFLINE"}, {"name": "two", "status": "ONLINE"}]
    stub.told["work_pools/local/workers/filter"] = workers
    assert looked(stub, "local")["worker of local"].what == "1 online (process): two"
    stub.told["work_pools/local"] = {"type": "process", "is_paused": True}
    assert "paused" in looked(stub, "local")["worker of local"].what


def test_rules_that_are_missing_or_paused(stub):
    api = server.Api(stub.url)
    rules = [{"name": name, "enabled": True} for name in server.RULES]
    stub.told["automations/filter"] = rules[:1]
    assert server.check_rules(api).what.startswith(server.RULES[1])
    stub.told["automations/filter"] = [rules[0], rules[1] | {"enabled": False}]
    assert "paused" in server.check_rules(api).what
    stub.told["automations/filter"] = rules
    assert server.check_rules(api).level == "ok"


def test_a_real_server_is_understood(starting_server, flow_server):
    from prefect.blocks.system import Secret

    found = {one.check: one for one in server.check_server({"PREFECT_API_URL": starting_server.api}, ["nobodys"])}
    assert found["server"].what.startswith(f"Prefect {PREFECT} answers") and found["clock"].level == "ok"
    assert str(starting_server.home / "prefect.db") in found["database"].what
    assert found["worker of nobodys"].what.startswith("there is no work pool")
    api = server.Api(starting_server.api)
    assert server.check_rules(api).level == "warn", "listed, and ours are not among them"
    assert not server.has_block(api, "doctors-secret")
    Secret(value="not looked at").save("doctors-secret")
    assert server.has_block(api, "doctors-secret")


# -- secrets ---------------------------------------------------------------------------------------------------------


def test_every_setting_that_names_a_secret_is_known():
    told = {
        name
        for kind in source_kinds().values()
        for name, field in kind.model_fields.items()
        if "Name of the secret" in (field.description or "")
    }
    assert told <= set(FIELDS) and told, "a new one belongs into FIELDS"


def test_secrets_that_recipes_name_are_looked_for_in_both_places(stub):
    recipes = [load_recipe("discord"), load_recipe("python-docs")]
    [found] = secrets.check_secrets(recipes, {"PREFECT_HOME": "/nonexistent"})
    assert found.level == "warn" and found.check == "secret TEXTMILL_PSEUDONYM_KEY" and "discord" in found.what
    [found] = secrets.check_secrets(recipes, {"TEXTMILL_PSEUDONYM_KEY": "marker", "PREFECT_HOME": "/nonexistent"})
    assert found.level == "ok" and "marker" not in repr(found)
    stub.told["block_types/slug/secret/block_documents/name/textmill-pseudonym-key"] = {}
    assert secrets.check_secrets(recipes, {"PREFECT_API_URL": stub.url})[0].level == "ok"
    numbered = recipes[0].sources["discord"].model_copy(update={"pseudonyms": "numbered"})
    assert named_by(numbered) == []


# -- command ---------------------------------------------------------------------------------------------------------


def test_the_command_ends_with_1_when_something_fails(tmp_path, monkeypatch, capsys, stub):
    start = gpu.start_probe
    torch_says = json.dumps({"torch": "2", "cuda": "none here", "mps": "none", "name": None})
    # the real one is seen in test_prefect_server.py
    monkeypatch.setattr(gpu, "start_probe", lambda: start(f"print({torch_says!r})"))
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PREFECT_API_URL", stub.url)
    monkeypatch.setattr(sys, "argv", ["textmill", "doctor", "--json"])
    assert run_app(app) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and {"python", "pins", "server", "clock", "gpu"} <= {one["check"] for one in told["findings"]}
    assert not (tmp_path / "store").exists(), "looking makes nothing"

    stub.told["admin/version"] = "2.0.0"
    monkeypatch.setenv("TEXTMILL_STORE", "ftp://somewhere")
    monkeypatch.setattr(sys, "argv", ["textmill", "doctor"])
    assert run_app(app) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("fail  server: Prefect 2.0.0") for line in lines)
    assert any(line.startswith("fail  store: ") and "ftp" in line for line in lines)
    assert lines[-1].endswith("2 wrong")
