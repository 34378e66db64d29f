"""Prefect's database on PostgreSQL: one that we start, with Prefect's server on it, loaded, and killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from data.errors import TextmillError
from flows import postgres
from flows.postgres import Postgres, database_url, find_programs
from flows.ui import DATABASE_SETTING
from tests.prefect_servers import Server, send_what_waits
from tests.test_prefect_server import Textmill


def there_is_one():
    try:
        return bool(find_programs() and postgres._owner()) or os.geteuid() != 0
    except TextmillError:
        return False


needs_postgres = pytest.mark.skipif(not there_is_one(), reason="no PostgreSQL server is installed")


@pytest.fixture(scope="module")
def home():
    """A folder for Prefect that the user `postgres` can reach, too, as those of pytest cannot be."""
    folder = Path(tempfile.mkdtemp(prefix="textmill-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(home):
    running = Postgres(home / "postgres")
    running.start()
    yield running
    running.stop()


def ask(server, query, database=postgres.DATABASE):
    command = [server.programs / "psql", "-h", server.sockets, "-p", str(postgres.PORT), "-d", database, "-Atc", query]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_postgres
def test_what_was_written_outlives_kills_and_starts(server):
    assert ask(server, "show listen_addresses") == ""
    ask(server, "create table mill (n int); insert into mill values (7)")
    for number in (signal.SIGKILL, signal.SIGTERM):
        server.process.send_signal(number)
        server.process.wait()
        assert server.ended()
        server.start()
        assert not server.ended()
        assert ask(server, "select n from mill") == "7"
    again = Postgres(server.folder)
    again.start()  # as after a killed `make up`, whose database is still there
    assert again.process is None and ask(again, "select n from mill") == "7"
    ask(server, "drop table mill")


@needs_postgres
def test_a_flow_runs_on_it(server, home):
    prefect = Server(home / "prefect", **{DATABASE_SETTING: server.url})
    try:
        prefect.wait()
        with temporary_settings({PREFECT_API_URL: prefect.api, PREFECT_HOME: prefect.home}):
            assert flow(name="on-postgres", persist_result=False)(lambda: 7)() == 7
            send_what_waits()
    finally:
        prefect.stop()
    assert ask(server, "select state_type from flow_run") == "COMPLETED"
    assert not (prefect.home / "prefect.db").exists()


def test_where_there_is_none_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(postgres, "PACKAGES", (tmp_path,))
    with pytest.raises(TextmillError, match=r"no PostgreSQL server.*apt install postgresql.*DATABASE=postgresql://"):
        find_programs()
    for version in ("9", "16"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        for name in ("postgres", *postgres.PROGRAMS):
            (folder / name).touch()
    assert find_programs() == tmp_path / "16" / "bin"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
@needs_postgres
def test_a_folder_that_its_user_cannot_reach_is_named(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(TextmillError, match=r"postgres cannot reach .*closed/postgres: set PREFECT_HOME"):
        Postgres(closed / "postgres").start()


@needs_postgres
def test_a_deep_folder_gets_a_short_socket(tmp_path):
    deep = Postgres(tmp_path / ("deep/" * 30) / "postgres")
    assert len(os.fsencode(deep.sockets)) < 80
    assert deep.sockets != Postgres(tmp_path / ("deep/" * 31) / "postgres").sockets


def test_addresses_as_people_write_them():
    assert database_url("postgres://a:b@c:5/d") == "postgresql+asyncpg://a:b@c:5/d"
    assert database_url("postgresql://a@c/d?ssl=require") == "postgresql+asyncpg://a@c/d?ssl=require"
    assert database_url("postgresql+asyncpg://a@c/d") == "postgresql+asyncpg://a@c/d"
    for wrong in ("lokal", "mysql://u:hunter2@h/d", "u:hunter2@h/d"):
        with pytest.raises(TextmillError, match=r"must be `local` or an address") as refused:
            database_url(wrong)
        assert "hunter2" not in str(refused.value)


# -- `make up`: server, worker and deployments on it

FLOW_OF_300 = """
from flows.settings import prepare_prefect
prepare_prefect()
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from flows.start import TASK_RUNNER
@task(cache_policy=NO_CACHE, persist_result=False)
def nothing(number):
    return number
@flow(name="of-300", task_runner=TASK_RUNNER, persist_result=False)
def of_300():
    return sum(future.result() for future in nothing.map(range(300)))
assert of_300() == 44850
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory, home):
    if not there_is_one():
        pytest.skip("no PostgreSQL server is installed")
    textmill = Textmill(tmp_path_factory.mktemp("up"), "--database", "local", home=home / "up")
    try:
        textmill.wait_until_up()
        yield textmill
    finally:
        if textmill.process.poll() is None:
            textmill.stop()
    assert not list((home / "up-postgres" / "data").glob("postmaster.pid")), "it was to be stopped, too"


@pytest.mark.long
def test_four_flows_of_300_tasks_at_once(up):
    begun = time.monotonic()
    runs = [
        subprocess.Popen([sys.executable, "-c", FLOW_OF_300], env=up.environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for run in runs:
        said = run.communicate(timeout=500)[1]
        assert run.returncode == 0, said
        assert "locked" not in said
    print(f"four flows of 300 tasks at once: {time.monotonic() - begun:.0f} s")
    flows = up.ask("flow_runs/filter", flows={"name": {"any_": ["of-300"]}})
    assert [one["state_type"] for one in flows] == ["COMPLETED"] * 4
    deadline = time.monotonic() + 500  # the server notes what it hears of tasks later, and on a busy machine much later
    ids = [one["id"] for one in flows]
    while (count := up.ask("task_runs/count", flow_runs={"id": {"any_": ids}}, task_runs={"state": {"type": {"any_": ["COMPLETED"]}}})) < 1200:  # fmt: skip  # noqa: E501
        assert time.monotonic() < deadline, count
        time.sleep(1)
    assert not re.search("locked|too many clients|QueuePool", up.log.read_text())


@pytest.mark.long
def test_a_deployment_runs_and_after_a_killed_database_the_next_one_does(up, home):
    assert up.seen(up.start(until="tokens")).state == "Completed"
    for pid_file in (home / "up-postgres" / "data").glob("postmaster.pid"):
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGKILL)
    deadline = time.monotonic() + 120
    while "PostgreSQL has ended: starting it again" not in up.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(2)
    seen = up.seen(up.start(until="tokens"))
    assert seen.state == "Completed", seen.logs
    assert any("tokens: 1 of 1 reused" in line for line in seen.logs), seen.logs
