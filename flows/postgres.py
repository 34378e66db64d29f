"""A PostgreSQL server of our own for Prefect's database: from the system's package, in a folder beside Prefect's.

It listens on a Unix socket only and lets in only the system user whose it is, so there is no password and no port. Its
data lies beside Prefect's folder: root runs it as another user, to whom Prefect's own folder is closed. Whoever deletes
that data while it is down has a new, empty database.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data.errors import TextmillError

DATABASE = "prefect"
READY = 60.0  # seconds for it to answer; after a crash it first goes through what it had written
PACKAGES = (Path("/usr/lib/postgresql"), Path("/opt/homebrew/opt"), Path("/usr/local/opt"))
PROGRAMS = ("initdb", "createdb", "pg_isready", "psql")
SOCKET_PATH = 100  # bytes that the path of a socket may have
PORT = 5432  # of which only the name of the socket is made
# a week of log, a file a day; no TCP
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgres-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
}


def find_programs() -> Path:
    """The folder of initdb and postgres, of the newest version there is. Raises TextmillError: what to install."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    for package in PACKAGES:
        folders += [
            path.parent for pattern in ("*/bin/postgres", "postgresql*/bin/postgres") for path in package.glob(pattern)
        ]
    whole = [folder for folder in folders if all((folder / name).exists() for name in PROGRAMS)]
    if not whole:
        raise TextmillError(
            "There is no PostgreSQL server on this machine: install it (Debian, Ubuntu: apt install postgresql; macOS: "
            "brew install postgresql@16), or give the address of another one (make up DATABASE=postgresql://...)."
        )
    return max(whole, key=lambda folder: (_version(folder), str(folder)))


def _version(folder: Path) -> int:
    """15 of /usr/lib/postgresql/15/bin and of .../postgresql@15/bin; 0 where the folder does not say."""
    digits = folder.parent.name.rpartition("@")[2]
    return int(digits) if digits.isdigit() else 0


class Postgres:
    """One server on the data of one folder: `start`, then `url`; `stop` at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.programs = find_programs()
        self.process: subprocess.Popen[bytes] | None = None
        self._owner = _owner()

    @property
    def sockets(self) -> Path:
        """The folder of its socket: its own, or a short one where that path would be too long."""
        own = self.folder / "socket"
        if len(os.fsencode(own / f".s.PGSQL.{PORT}")) <= SOCKET_PATH:
            return own
        return Path(tempfile.gettempdir()) / f"textmill-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]}"

    @property
    def url(self) -> str:
        """Its address as Prefect takes it."""
        return f"postgresql+asyncpg://{quote(_user())}@/{DATABASE}?host={quote(str(self.sockets))}&port={PORT}"

    def start(self) -> None:
        """Start it, on a new database where there is none, and wait until it answers. Raises TextmillError."""
        self._make_folders()
        if not self.data.exists():
            begun = self.folder / "data.new"  # a killed initdb leaves half of it
            shutil.rmtree(begun, ignore_errors=True)
            self._run("initdb", "-D", begun, "-U", _user(), "-E", "UTF8", "--locale=C", "--auth=peer")
            begun.rename(self.data)
        self._launch()
        listed = self._run(
            "psql", *self._where(), "-d", "postgres", "-Atc", "SELECT datname FROM pg_database", own=True
        )
        if DATABASE not in listed.split():
            self._run("createdb", *self._where(), DATABASE, own=True)

    def ended(self) -> bool:
        """Whether it is no longer there, though nobody has stopped it."""
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> None:
        """Have it write everything and leave; who is connected is sent away."""
        if self.process is None and self._answers():  # it outlived an earlier starter
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)  # at once; the next start goes through what it had written
                self.process.wait()

    def _make_folders(self) -> None:
        for folder in (self.folder, self.sockets):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.is_symlink():
                raise TextmillError(f"{folder} is a link: delete it, or choose another PREFECT_HOME.")
            if self._owner:
                os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)
            elif folder.stat().st_uid != os.getuid():
                raise TextmillError(f"{folder} belongs to another user: delete it, or choose another PREFECT_HOME.")
            folder.chmod(0o700)
        if self._owner and not self._reaches(self.folder):
            raise TextmillError(
                f"PostgreSQL does not run as root, and its user {self._owner.pw_name} cannot reach {self.folder}: set "
                "PREFECT_HOME to a folder whose parents are open to all, or start this as an ordinary user."
            )

    def _reaches(self, folder: Path) -> bool:
        return subprocess.run(["test", "-w", str(folder)], **self._as_owner()).returncode == 0

    def _launch(self) -> None:
        """Start the server and wait until it takes connections; one that outlived its starter is used as it is."""
        deadline = time.monotonic() + READY
        while not self._answers():
            if self.process is None or self.process.poll() is not None:  # its killed forerunner's children may hold on
                options = {**SETTINGS, "unix_socket_directories": str(self.sockets), "port": str(PORT)}
                argv = [str(self.programs / "postgres"), "-D", str(self.data)]
                argv += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
                with (self.folder / "start.log").open("wb") as log:
                    self.process = subprocess.Popen(
                        argv,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        **self._as_owner(),
                    )
            if time.monotonic() > deadline:
                said = (self.folder / "start.log").read_text(errors="replace").strip().splitlines() or [
                    "it said nothing"
                ]
                raise TextmillError(
                    f"PostgreSQL did not come up on {self.data} within {READY:.0f} s: "
                    f"{said[-1]} (more in {self.folder / 'start.log'} and {self.data / 'log'})."
                )
            time.sleep(0.2)

    def _answers(self) -> bool:
        command = [str(self.programs / "pg_isready"), "-q", *self._where()]
        return subprocess.run(command).returncode == 0

    def _where(self) -> list[str]:
        return ["-h", str(self.sockets), "-p", str(PORT)]

    def _run(self, program: str, *arguments: object, own: bool = False) -> str:
        """What a program of PostgreSQL's prints; `own` runs it as we are, else as the user whose the data is."""
        command = [str(self.programs / program), *map(str, arguments)]
        settings = {} if own else self._as_owner()
        done: subprocess.CompletedProcess[str] = subprocess.run(command, capture_output=True, text=True, **settings)
        if done.returncode:
            words = " ".join(done.stderr.split()[-40:])
            raise TextmillError(f"PostgreSQL's {program} ended with exit code {done.returncode}: {words}")
        return done.stdout

    def _as_owner(self) -> dict[str, Any]:
        """How a process is started as the user whose the data is."""
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": [], "cwd": "/"}


def _owner() -> pwd.struct_passwd | None:
    """The user that PostgreSQL runs as in our place, when we are root, as whom it does not run; None: we ourselves."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    raise TextmillError(
        "PostgreSQL does not run as root, and this system has no user `postgres` to run it as: start this as an "
        "ordinary user, or give the address of another server (make up DATABASE=postgresql://...)."
    )


def _user() -> str:
    """The name of the system user that we are, whatever the environment says."""
    return pwd.getpwuid(os.geteuid()).pw_name


def database_url(text: str) -> str:
    """A database's address as Prefect takes it, from how people write it. Raises TextmillError, without passwords."""
    scheme, _, rest = text.partition("://")
    kinds = {"postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    kind = kinds.get(scheme, scheme)
    if not rest or kind not in kinds.values():
        shown = f"{scheme}://..." if rest else text.partition("@")[2] or text
        raise TextmillError(
            f"The database is {shown!r}, but it must be `local` or an address such as postgresql://user@host/prefect."
        )
    return f"{kind}://{rest}"


def folder_beside(home: Path) -> Path:
    """Where the database of a Prefect at `home` lies: `.prefect-postgres` for `.prefect`."""
    return home.with_name(f"{home.name}-postgres")
