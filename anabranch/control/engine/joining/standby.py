"""A machine that waits to become the head machine of an engine: ``anabranch up --standby``.

The store decides who that is: once no controller has acted on it for a while, one of the machines
that wait starts the engine on it. What the lost head machine has had alone is made anew (Ray's
token, the certificates between machines); the rest is in the store, in the store of bundles, and in
the control token, by which clients and machines know the engine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anabranch.access.keys import PREFIX
from anabranch.client.connection.engine_state import (
    EngineInfo,
    EngineState,
    clear_state,
    read_state,
)
from anabranch.control.access.authority import remove_certificates
from anabranch.control.engine import ports, processes, service
from anabranch.control.engine.engine import drain_edge, end, is_running, up
from anabranch.control.engine.home import locked, open_home, store_file
from anabranch.control.engine.joining.invitation import TOKEN_FILE
from anabranch.control.engine.launch import EngineOptions, Say
from anabranch.control.settings.settings import bundle_store_url, store_url
from anabranch.control.settings.tls import in_force
from anabranch.control.store.database import Database
from anabranch.control.store.vacancy import Vacancy
from anabranch.errors import EngineError, Unavailable

PATIENCE_S = 20.0
"""Time without a controller after which a machine takes over, in seconds; it is longer than a new
start of Ray on the head machine takes."""
_PAUSE_S = 1.0


def stand_by(home: Path, options: EngineOptions, *, say: Say, warn: Say) -> EngineInfo:
    """Wait until the engine of a home's store has no controller, and start it on this machine.

    A machine that has joined the engine is a part of it meanwhile, and leaves it then. Returns at
    once where the engine runs here already. Raises EngineError: a machine that lacks what the
    engine needs, and whatever ``up`` refuses.
    """
    open_home(home, warn)
    state = read_state(home)
    if state is not None and not state.joined and is_running(state):
        return up(home, options, say=say, warn=warn)
    url = _require_fit(home, options)
    say("waiting for the engine to be without a controller")
    service.ready()
    with claimed(url, warn):
        say("the engine has no controller: this machine takes its head's place")
        _leave(home)
        return up(home, options, say=say, warn=warn)


def _require_fit(home: Path, options: EngineOptions) -> str:
    """Return the URL of the store; EngineError with what this machine lacks."""
    ports.require_own("--host", options.host())
    if options.is_loopback():
        raise EngineError("--standby needs --host ADDRESS, by which other machines reach this one")
    if store_file(home) is not None:
        raise EngineError(
            "--standby needs a store that all machines reach: set ANABRANCH_STORE to the engine's,"
            " such as postgresql://user:password@host/database"
        )
    if not bundle_store_url(os.environ):
        raise EngineError(
            "--standby needs a store of bundles that all machines reach: set ANABRANCH_BUNDLE_STORE"
            " here and on the engine's head machine, such as s3://bucket/folder"
        )
    _require_token(home / TOKEN_FILE)
    return store_url(os.environ, home)


def _require_token(file: Path) -> None:
    token = file.read_text().strip() if file.exists() else ""
    if not token or token.startswith(PREFIX):
        found = "holds a key" if token else "is missing"
        raise EngineError(
            f"{file} {found}: put the engine's control token there, which is in `token` of its"
            " head machine's home; clients and machines know the engine by it"
        )


@contextmanager
def claimed(url: str, warn: Say) -> Iterator[None]:
    """Wait until the store is this machine's to start a controller on, and show that it does."""
    database = Database.existing(url)
    try:
        vacancy = Vacancy(database, PATIENCE_S)
        _wait_for(vacancy, warn)
        over = threading.Event()
        keeping = threading.Thread(target=_keep, args=(vacancy, over), daemon=True)
        keeping.start()
        try:
            yield
        finally:
            over.set()
            keeping.join()
    finally:
        database.close()


def _wait_for(vacancy: Vacancy, warn: Say) -> None:
    problem = ""
    while True:
        try:
            if vacancy.claim():
                return
            problem = ""
        except Unavailable as error:
            if not problem:
                warn(f"{error}; waiting for it")
            problem = str(error)
        time.sleep(_PAUSE_S)


def _keep(vacancy: Vacancy, over: threading.Event) -> None:
    while not over.wait(_PAUSE_S):
        with suppress(Unavailable):
            vacancy.keep()


def _leave(home: Path) -> None:
    """End what this machine was in the engine; the token stays."""
    with locked(home):
        state = read_state(home)
        if state is not None and state.joined:
            _end(home, state)


def _end(home: Path, state: EngineState) -> None:
    drain_edge(state)
    # Asked to stop, Ray would wait for a GCS that is gone.
    processes.kill(state.id, Path(state.runtime))
    end(state)
    in_force(home).remove()
    remove_certificates(home)
    clear_state(home)
