"""A PostgreSQL server of the test run's own: in a temporary folder, on loopback, stopped after."""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ports import free_ports

_INSTALLED = "usr/lib/postgresql/*/bin/initdb"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Server:
    """A running server; ``database`` gives the URL of a fresh database."""

    host: str
    port: int
    password: str
    _count: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def database(self) -> Iterator[str]:
        name = f"store_{next(self._count)}"
        self._run(f"CREATE DATABASE {name}")
        try:
            yield f"postgresql://postgres:{self.password}@{self.host}:{self.port}/{name}"
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(
            host=self.host, port=self.port, user="postgres", password=self.password,
            dbname="postgres", autocommit=True,
        ) as connection:  # fmt: skip
            connection.execute(statement)


@contextmanager
def running_server(host: str = "127.0.0.1") -> Iterator[Server]:
    """Start a server that listens at an address of this machine, for all in its network; skips the
    test where none can be started.
    """
    pytest.importorskip(
        "psycopg", reason="psycopg is not installed: pip install anabranch[postgres]"
    )
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="anabranch-postgres-"))
    try:
        user = _unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        password = secrets.token_hex(16)
        _initialise(programs, folder, password, user)
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")
        port = _start(programs, folder, host, user)
        try:
            yield Server(host, port, password)
        finally:
            stop = ["stop", "-D", str(folder / "data"), "-m", "immediate", "-w"]
            _call([str(programs / "pg_ctl"), *stop], folder, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path("/").glob(_INSTALLED), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return (found[-1] if found else Path(str(on_path)).resolve()).parent


def _unprivileged() -> pwd.struct_passwd | None:
    """Who runs the server: it refuses to be root's."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = known.get("postgres") or known.get("nobody")
    if user is None:
        pytest.skip("PostgreSQL cannot be root's, and there is no user postgres or nobody")
    return user


def _initialise(
    programs: Path, folder: Path, password: str, user: pwd.struct_passwd | None
) -> None:
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o600)
    if user is not None:
        os.chown(folder / "password", user.pw_uid, user.pw_gid)
    _call(
        [
            str(programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres",
            "-A", "scram-sha-256", "--pwfile", str(folder / "password"),
            "-E", "UTF8", "--locale", "C", "--no-sync",
        ],
        folder,
        user,
    )  # fmt: skip


def _start(programs: Path, folder: Path, host: str, user: pwd.struct_passwd | None) -> int:
    """Start on a free port; another program may be faster to take it, so try again."""
    for attempt in range(_ATTEMPTS):
        (port,) = free_ports(1)
        options = f"-p {port} -c listen_addresses={host} -k {folder} -c fsync=off"
        command = ["start", "-D", str(folder / "data"), "-l", str(folder / "log"), "-w"]
        try:
            _call([str(programs / "pg_ctl"), *command, "-o", options], folder, user)
            return port
        except AssertionError:
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError


def _call(command: list[str], folder: Path, user: pwd.struct_passwd | None) -> None:
    """Run a command as that user; not as ``subprocess`` would, which forks this process for that:
    gRPC then begins its threads anew, in the network where the calling thread happens to be.
    """
    switch = []
    if user is not None:
        switch = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    output = folder / "output"
    with output.open("w") as file:  # not a pipe: the server would keep it open
        done = subprocess.run(
            [*switch, *command], cwd=folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            timeout=300, check=False,
        )  # fmt: skip
    log = folder / "log"
    text = output.read_text() + (log.read_text() if log.exists() else "")
    assert done.returncode == 0, f"{command[0]} failed: {text}"
