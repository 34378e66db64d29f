"""Prefect's server as its API shows it: whether it answers, its version, database, rules, workers and clock.

Asked with plain HTTP: importing Prefect takes longer than all of this.
"""

import base64
import http.client
import json
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flows.doctor.finding import Finding, fail, ok, warn

PATIENCE = 10.0  # seconds for an answer
SKEW_WARN, SKEW_FAIL = 5.0, 60.0  # seconds between the server's clock and ours; its Date header counts whole seconds
RECENT = 600.0  # seconds since the last write to a database that is in use
RULES = ("textmill-dead-run", "textmill-resume")
START = "start it: make ui, or prefect server start"


class ServerError(Exception):
    """No usable answer; `code` is the HTTP status, None where there was no connection."""

    def __init__(self, what: str, code: int | None = None) -> None:
        super().__init__(what)
        self.code = code


@dataclass(frozen=True)
class Answer:
    """What the server said, and by how many seconds its clock is ahead of ours."""

    body: Any
    ahead: float | None


@dataclass(frozen=True)
class Api:
    """A server's API; `login` is PREFECT_API_AUTH_STRING, user:password, which goes into a header and nowhere else."""

    url: str
    login: str | None = None

    def ask(self, path: str, **body: Any) -> Answer:
        """A GET, or a POST of `body`. Raises ServerError."""
        request = urllib.request.Request(f"{self.url.rstrip('/')}/{path}")
        if self.login:
            request.add_header("Authorization", f"Basic {base64.b64encode(self.login.encode()).decode()}")
        if body:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            begun = time.time()
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                middle = (begun + time.time()) / 2
                date = response.headers.get("Date")
                ahead = parsedate_to_datetime(date).timestamp() + 0.5 - middle if date else None
                return Answer(json.load(response), ahead)
        except urllib.error.HTTPError as error:
            raise ServerError(f"it answered {error.code} {error.reason}", error.code) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise ServerError(str(getattr(error, "reason", None) or error)) from error


def setting(environment: Mapping[str, str], name: str) -> str | None:
    """A setting of Prefect's, from the environment or the profile that Prefect would take."""
    if given := environment.get(name):
        return given
    home = Path(environment.get("PREFECT_HOME") or "~/.prefect").expanduser()
    path = Path(environment.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        profile = told.get("profiles", {}).get(environment.get("PREFECT_PROFILE") or told.get("active"), {})
    except (OSError, ValueError):
        return None
    found = profile.get(name)
    return found if isinstance(found, str) else None


def check_server(environment: Mapping[str, str], pools: list[str]) -> list[Finding]:
    """All there is to say of the server; one finding where there is none, or where it does not answer."""
    url = setting(environment, "PREFECT_API_URL")
    if url is None:
        what = "PREFECT_API_URL is not set: each run starts a server of its own and ends it"
        return [ok("server", what)]
    api = Api(url, setting(environment, "PREFECT_API_AUTH_STRING"))
    try:
        answer = api.ask("admin/version")
    except ServerError as error:
        return [_no_answer(url, error)]
    findings = [check_version(url, str(answer.body)), check_clock(answer.ahead), check_database(api, environment)]
    if (Path(__file__).parents[1] / "ops.py").exists():
        findings.append(check_rules(api))
    return findings + [check_worker(api, pool) for pool in pools]


def _no_answer(url: str, error: ServerError) -> Finding:
    if error.code == 401:
        remedy = "set PREFECT_API_AUTH_STRING to the user:password that the server was started with"
        return fail("server", f"{url} wants a login, and PREFECT_API_AUTH_STRING is missing or wrong", remedy)
    if error.code is not None:
        return fail("server", f"{url} is no API of Prefect's: {error}", "PREFECT_API_URL must end in /api")
    return fail("server", f"nothing answers at {url}: {error}", f"{START}; or unset PREFECT_API_URL to go without")


def check_version(url: str, theirs: str) -> Finding:
    """Whether the server is of our version: a client must not be newer than its server."""
    try:
        ours = version("prefect")
    except PackageNotFoundError:
        return fail("server", f"Prefect {theirs} answers at {url}, but here none is installed", "make venv")
    if theirs == ours:
        return ok("server", f"Prefect {theirs} answers at {url}")
    what = f"Prefect {theirs} answers at {url}, but {ours} is installed here"
    level = warn if theirs.split(".")[:2] == ours.split(".")[:2] else fail
    return level("server", what, f"start the server from this environment, or install prefect=={ours} where it runs")


def check_clock(ahead: float | None) -> Finding:
    """How far the server's clock is from ours: schedules and heartbeats go by the server's."""
    if ahead is None:
        return warn("clock", "the server's answers carry no date", "let what stands before it pass the header Date")
    if abs(ahead) <= SKEW_WARN:
        return ok("clock", f"within {SKEW_WARN:.0f} s of the server's")
    what = f"the server's clock is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    level = fail if abs(ahead) > SKEW_FAIL else warn
    return level("clock", what, "let both keep time: timedatectl set-ntp true")


def check_database(api: Api, environment: Mapping[str, str]) -> Finding:
    """Which database the server keeps; it hides the address, so this goes by what else it tells."""
    try:
        settings = api.ask("admin/settings").body
    except ServerError as error:
        return warn("database", f"the server does not tell its settings: {error}", "see the server's own log")
    told = settings.get("server", {}).get("database", {})
    given = environment.get("PREFECT_SERVER_DATABASE_CONNECTION_URL", "")
    if "postgresql" in str(told.get("driver")) or told.get("host") or given.startswith("postgresql"):
        return ok("database", "PostgreSQL" + (f" at {told['host']}" if told.get("host") else ""))
    file = Path(str(settings.get("home", ""))).expanduser() / "prefect.db"
    writes = [path.stat().st_mtime for path in (file, file.with_name("prefect.db-wal")) if path.exists()]
    if writes and time.time() - max(writes) < RECENT:
        megabytes = sum(path.stat().st_size for path in file.parent.glob("prefect.db*")) / 1e6
        return ok("database", f"SQLite, {file} ({megabytes:,.0f} MB); PostgreSQL bears several flows at once better")
    return ok("database", "given by PREFECT_SERVER_DATABASE_CONNECTION_URL where the server runs")


def check_rules(api: Api) -> Finding:
    """Whether the server has the automations that crash recovery needs."""
    try:
        found = {one["name"]: one["enabled"] for one in api.ask("automations/filter", limit=200).body}
    except ServerError as error:
        return warn("automations", f"the server does not list them: {error}", "textmill ops show")
    if missing := [name for name in RULES if name not in found]:
        what = f"{', '.join(missing)} not on the server: a run that dies unseen stays `Running` for ever"
        return warn("automations", what, "textmill ops install")
    if paused := [name for name in RULES if not found[name]]:
        return warn("automations", f"paused: {', '.join(paused)}", "switch them on, on the server's page Automations")
    return ok("automations", f"{', '.join(RULES)} are on the server")


def check_worker(api: Api, pool: str) -> Finding:
    """Whether somebody takes up what is scheduled in a work pool."""
    check, start = f"worker of {pool}", f"make ui, or prefect worker start --pool {pool}"
    try:
        kind = api.ask(f"work_pools/{pool}").body
        workers = api.ask(f"work_pools/{pool}/workers/filter", limit=200).body
    except ServerError as error:
        if error.code == 404:
            return warn(
                check, f"there is no work pool {pool!r} on the server", "make ui makes it, with all deployments"
            )
        return warn(check, f"the server does not tell: {error}", "see the server's own log")
    online = [one["name"] for one in workers if one["status"] == "ONLINE"]
    if kind.get("is_paused"):
        return warn(check, f"the pool {pool!r} is paused", f"prefect work-pool resume {pool}")
    if not online:
        return warn(check, f"none of {len(workers)} workers is online: runs of deployments wait", start)
    return ok(check, f"{len(online)} online ({kind['type']}): {', '.join(online[:3])}")


def has_block(api: Api, name: str) -> bool:
    """Whether the server keeps a Secret block of this name; its value is not asked for."""
    try:
        api.ask(f"block_types/slug/secret/block_documents/name/{name}")
    except ServerError:
        return False
    return True
