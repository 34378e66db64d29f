"""The hub's client when things go wrong: what is tried again, what ends at once; nothing old is ever served."""

import os
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path
from time import time

import httpx2
import pytest

from data.ledger import assign
from data.sources.base import SourceError
from data.sources.hub.client import TRIES, Hub, HubFailedError, HubFile, NotOnHubError
from data.sources.pack import ChangedSinceLookError
from tests.hub_toys import ID, Runs, quick_waits, text, texts
from tests.source_runs import texts as by_id
from tests.stand_in_hub import content_id, stand_in_hub

TABLE = texts(0, 3000, group=500, compression="none")


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    return quick_waits(monkeypatch)


@pytest.fixture
def hub():
    with stand_in_hub(redirects=True) as server:
        server.dataset(ID).push({"train.parquet": TABLE})
        yield server


@pytest.mark.parametrize("place", ["/revision/", "/tree/", "/paths-info/", "README", "resolve.*parquet", "/storage/"])
@pytest.mark.parametrize("status", [500, 429])
def test_a_failure_that_passes_is_tried_again(hub, waits, tmp_path, place, status):
    hub.fail(place, status=status, times=2)
    assert len(by_id(Runs(hub, tmp_path).run())) == 3000
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "in 100 s"}, 50, 100),
        ({"RateLimit": '"api";r=0;t=55'}, 55, 55),
        ({"Retry-After": "soon"}, 0.5, 1),
    ],
)
def test_the_pause_that_the_hub_asks_for_is_made(hub, waits, tmp_path, headers, least, most):
    date = formatdate(time() + 100, usegmt=True)  # made now: other tests may take minutes
    hub.fail("/storage/", status=429, headers={name: date if it == "in 100 s" else it for name, it in headers.items()})
    assert len(Runs(hub, tmp_path).run()) == 3000
    assert least <= waits[0] <= most
    assert len(waits) == 1


def test_a_pause_of_hours_is_not_made(hub, waits, tmp_path):
    hub.fail("/tree/", status=429, headers={"Retry-After": "7200"})
    with pytest.raises(HubFailedError, match="7200 s"):
        Runs(hub, tmp_path).run()
    assert waits == []


@pytest.mark.parametrize("route", ["file", "ranges"])
def test_a_cut_answer_is_gone_on_with(hub, waits, tmp_path, route):
    runs = Runs(hub, tmp_path, route=route)
    (item,) = runs.source.look(tmp_path).items  # asks for the footer, which this process keeps
    hub.fail("/storage/", after=50_000, times=3)
    assert by_id(runs.run()) == {f"train.parquet#{n}": text(n) for n in range(3000)}
    storage = [one for one in hub.requests if "/storage/" in one.path]
    assert len(storage) == 4
    assert len(waits) == 3
    assert sum(one.sent for one in storage) <= item.size + 3 * 65_536, "nothing came twice"


def test_what_fails_time_and_again_ends(hub, waits, tmp_path):
    hub.fail("/tree/", status=502, times=100)
    with pytest.raises(HubFailedError, match=rf"{ID}, its files: http://127.* {TRIES} times in a row.*502.*Run again"):
        Runs(hub, tmp_path).run()
    assert len(waits) == TRIES - 1
    assert 4 <= waits[-2] <= 8 <= waits[-1] <= 16


def test_a_password_in_the_usual_address_is_not_shown(hub, waits, tmp_path, monkeypatch):
    for address in (hub.endpoint.replace("://", "://me:s3cret@"), "http://me:s3cret@[::1"):
        monkeypatch.setenv("HF_ENDPOINT", address)
        hub.fail("/tree/", status=502, times=TRIES)
        with pytest.raises(HubFailedError) as caught:
            Runs(hub, tmp_path, endpoint=None).run()
        assert "s3cret" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_an_error_and_no_older_copy_is_served(hub, waits, tmp_path):
    runs = Runs(hub, tmp_path)
    runs.run()
    hub.close()
    with pytest.raises(HubFailedError, match="Connect"):
        runs.run()


@pytest.mark.parametrize("route", ["file", "ranges"])
def test_a_dataset_under_its_former_name_is_found(hub, waits, tmp_path, route):
    hub.aliases["former"] = ID
    hub.dataset(ID).push({"small-train.csv": b"text\nshort\n"})
    assert len(Runs(hub, tmp_path, id="former", route=route).run()) == 3000
    assert len(Runs(hub, tmp_path, id="former", files=["*.csv"], route=route).run()) == 1
    with pytest.raises(NotOnHubError, match="no such revision"):
        Runs(hub, tmp_path, id="former", revision="v9").run()
    assert waits == []


def test_a_storage_address_that_has_expired_is_asked_for_anew(hub, waits, tmp_path):
    hub.fail("/storage/", status=403)
    assert len(Runs(hub, tmp_path).run()) == 3000
    assert len(waits) == 1


@pytest.mark.parametrize("body", [b'[{"type": "file"}]', b'[{"type": "file", "path": "x", "size": "much", "oid": ""}]'])
def test_a_listing_that_cannot_be_read_is_an_error(hub, tmp_path, body):
    hub.fail("/tree/", status=200, body=body)
    with pytest.raises(HubFailedError, match="listing cannot be read"):
        Runs(hub, tmp_path).run()


def test_no_json_is_a_failure(hub, waits, tmp_path):
    hub.fail("/tree/", status=200, body=b"<html>busy</html>")
    assert len(Runs(hub, tmp_path).run()) == 3000
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"id": "people/nobody"},
            r"people/nobody, revision main: there is no such dataset.*401 Repo.*no token",
        ),
        ({"revision": "v9"}, r"revision v9: there is no such revision"),
        (
            {"files": ["train.csv"]},
            r"file for files \['train.csv'\].*There are: train.parquet",
        ),
        ({"split": "test"}, r"config None, split 'test'.*There are: train.parquet"),
        ({"text_field": "body"}, r"train.parquet: wrong_column: has no column 'body'.*its columns are text"),
        ({"text_field": "body", "id_field": "id"}, "no column 'body' and no column 'id'"),
        ({"token": "NO_SUCH_SECRET"}, "NO_SUCH_SECRET is not set"),
    ],
)
def test_what_cannot_pass_ends_at_once(hub, waits, tmp_path, settings, said):
    with pytest.raises(SourceError, match=f"(?s){said}"):
        Runs(hub, tmp_path, **settings).run()
    assert waits == []


@pytest.mark.parametrize("gated", [False, True])
def test_a_closed_dataset_wants_a_token_which_never_leaves_the_hub(hub, waits, tmp_path, monkeypatch, gated):
    dataset = hub.dataset(ID)
    dataset.token, dataset.gated = "s3cret", gated
    with pytest.raises(NotOnHubError, match="GatedRepo.*terms" if gated else "private.*RepoNotFound"):
        Runs(hub, tmp_path).run()
    assert hub.count() == (2 if gated else 1)
    monkeypatch.setenv("MY_TOKEN", "wrong")
    with pytest.raises(NotOnHubError) as caught:
        Runs(hub, tmp_path, token="MY_TOKEN").run()
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    with pytest.raises(NotOnHubError, match="asked as nobody"):
        Runs(hub, tmp_path).run()  # the usual token is not for a host that the recipe names
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    for name, settings in (("MY_TOKEN", {"token": "MY_TOKEN"}), ("HF_TOKEN", {"endpoint": None})):
        monkeypatch.setenv(name, " s3cret\n")
        runs = Runs(hub, tmp_path, **settings)
        assert len(runs.run()) == 3000
        said = {"storage" in one.path: one.authorization for one in hub.requests}
        assert said == {False: "Bearer s3cret", True: None}
        assert "s3cret" not in f"{runs.look} {runs.facts} {runs.source!r} {runs.source.location()}"


@pytest.mark.parametrize("route", ["file", "ranges"])
def test_a_stale_proxy_is_found_out(hub, waits, tmp_path, route):
    runs = Runs(hub, tmp_path, route=route)
    hub.dataset(ID).push({"train.parquet": texts(5000, 8000, group=500, compression="none")})
    hub.dataset(ID).stale["train.parquet"] = TABLE
    with pytest.raises(ChangedSinceLookError, match=content_id(TABLE)[:12]):
        runs.run()


def test_bytes_that_are_not_those_of_the_file_are_refused(hub, waits, tmp_path, monkeypatch):
    runs = Runs(hub, tmp_path, route="file")
    wrong = bytearray(TABLE)
    wrong[5000] ^= 1
    monkeypatch.setattr(
        "tests.stand_in_hub.content_id", lambda data: content_id(TABLE if len(data) == len(TABLE) else data)
    )
    hub.dataset(ID).stale["train.parquet"] = bytes(wrong)
    with stand_in_hub() as plain:
        plain.datasets = hub.datasets
        runs.settings["endpoint"] = plain.endpoint
        with pytest.raises(ChangedSinceLookError, match=rf"{content_id(TABLE)[:12]} was listed, .* came"):
            runs.run()
        assert plain.count("resolve/.*parquet") == 3, "the footer, and the file twice"


def test_a_file_that_is_gone_by_now_is_named(hub, waits, tmp_path):
    runs = Runs(hub, tmp_path)
    hub.fail("resolve.*parquet", status=404, headers={"X-Error-Code": "EntryNotFound"})
    with pytest.raises(NotOnHubError, match=r"train\.parquet: there is no such file"):
        runs.run()


def test_a_hub_without_parts_of_files_is_read_by_whole_files(hub, waits, tmp_path):
    hub.ignores_ranges = True
    for settings in ({"route": "ranges"}, {"route": "file", "max_documents": 5}):
        with pytest.raises(HubFailedError, match="Set route to file, and no max_documents"):
            Runs(hub, tmp_path, **settings).run()
    runs = Runs(hub, tmp_path, route="file")
    hub.fail("/storage/", after=50_000, times=3)  # the look's, and two of the fetch, which begin anew
    hub.fail("/storage/", after=90_000)
    assert by_id(runs.run()) == {f"train.parquet#{n}": text(n) for n in range(3000)}
    assert len(waits) == 3
    assert len(runs.run()) == 3000, "nothing new"


def test_a_peek_and_a_resumed_file_need_no_parts(hub, waits, tmp_path):
    lines = b"".join(b'{"text": "line %d"}\n' % n for n in range(30_000))
    hub.dataset(ID).push({"train.jsonl": lines, "train.parquet": TABLE})
    hub.ignores_ranges = True
    runs = Runs(hub, tmp_path, files=["*.jsonl"], route="file")
    runs.memo = runs.source.look(tmp_path).memo
    work = tmp_path / "work"
    _, (slot,), _ = assign(None, runs.source.look(tmp_path, runs.memo), 10**9, "2024")
    hub.fail("/storage/", after=200_000, times=TRIES)  # gives up, and keeps what came
    with pytest.raises(HubFailedError, match="failed"):
        runs.source.fetch(slot.items, tmp_path, tmp_path, work)
    assert [path.stat().st_size for path in work.iterdir()] == [200_000]
    runs.source.fetch(slot.items, tmp_path, tmp_path, work)
    assert (tmp_path / "content.bin").read_bytes() == lines


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://Hub.example:443", "https://hub.example/x"),
        ("http://hub.example:80/", "http://hub.example/x"),
        ("https://hub.example:8443", "https://hub.example:8443/x"),
    ],
)
def test_a_usual_port_makes_no_other_host(endpoint, url):
    answer = httpx2.Response(404, request=httpx2.Request("GET", url))
    assert not Hub(endpoint, ID)._is_elsewhere(answer)
    elsewhere = httpx2.Response(404, request=httpx2.Request("GET", "https://hub.example:9999/x"))
    assert Hub(endpoint, ID)._is_elsewhere(elsewhere)


def test_libraries_that_are_told_to_stay_offline_say_so(hub, tmp_path):
    code = f"from data.sources.hub.client import Hub; Hub({hub.endpoint!r}, {ID!r}).commit('main')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert "HF_HUB_OFFLINE is set" in done.stderr.splitlines()[-1]


def test_nothing_is_kept_in_a_cache_of_the_library(hub, tmp_path):
    code = f"""
from pathlib import Path
from tests.hub_toys import Runs
class Server: endpoint = {hub.endpoint!r}; forget = lambda self: None
Path("runs").mkdir()
print(len(Runs(Server(), Path("runs")).run()))
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HF_HOME": str(home), "HOME": str(home), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == "3000\n"
    assert list(home.rglob("*")) == []


def test_parts_of_a_file_are_its_bytes(hub, waits):
    sha = hub.dataset(ID).branches["main"]
    file = HubFile("train.parquet", len(TABLE), content_id(TABLE), True, sha)
    client = Hub(hub.endpoint, ID)
    assert client.tree(sha) == [HubFile("train.parquet", len(TABLE), content_id(TABLE), True)]
    for start, end in ((0, len(TABLE)), (0, 1), (77, 78), (len(TABLE) - 1, len(TABLE)), (5, 5)):
        assert b"".join(client.read(file, start, end)) == TABLE[start:end]
    assert client.small_file(sha, "README.md") is None
    assert client.tree(sha, "no/such/folder") == []
    assert client.with_commits(sha, client.tree(sha)) == [file]
