"""Which engine a person is logged in to, and by which key.

The engine is the first that there is of: the variable ``ANABRANCH_URL``, that of the file
``anabranch-login.json`` in the home, which ``anabranch login`` writes, and the home's own. Its key
is the first of: the variable ``ANABRANCH_TOKEN``, that of a login to this engine, and the token of
the home's engine. A key goes to no engine but its own.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_URL | URL of the engine of commands and clients | that of `anabranch login` |
| ANABRANCH_TOKEN | key that commands and clients show to an engine | that of `anabranch login` |
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from anabranch.client.connection.engine_state import read_token, require_state
from anabranch.client.connection.trust import Verify, trust
from anabranch.errors import EngineError
from anabranch.files import disk_errors, replace_file

FILE = "anabranch-login.json"
TOKEN = "ANABRANCH_TOKEN"
"""Variable that holds a key."""
URL = "ANABRANCH_URL"
"""Variable that holds the URL of an engine."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Login:
    """An engine's URL, and a key for it. Without a URL it is the engine of the home."""

    url: str
    key: str


def read_login(home: Path) -> Login | None:
    """Return the login of a home, if any.

    Raise EngineError for a file that others may read, or that is damaged.
    """
    path = home / FILE
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise EngineError(
                    f"{path} holds a key, and others may read it (mode {mode:04o}): "
                    f"`chmod 600 {path}`, and rotate the key if they may have"
                )
            return Login(**json.load(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise EngineError(
            f"{path} cannot be read as a login: `anabranch login` writes it anew"
        ) from None


def write_login(home: Path, login: Login) -> None:
    """Keep a login, for its owner alone; StorageError where it cannot be written."""
    with disk_errors(home / FILE):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(home / FILE, json.dumps(asdict(login)) + "\n", mode=0o600)


def remove_login(home: Path) -> bool:
    """Forget the login of a home; return whether there was one."""
    try:
        (home / FILE).unlink()
    except FileNotFoundError:
        return False
    return True


class LoginTarget(NamedTuple):
    """An engine's URL, the key for it if there is one, and what its certificate is verified by."""

    url: str
    key: str | None
    verify: Verify


def destination(home: Path, env: Mapping[str, str] = os.environ) -> LoginTarget:
    """Return how an engine is to be reached.

    Raise EngineError where nothing names an engine and none runs in the home, or its token cannot
    be read.
    """
    url = given_url(env)
    if url:
        return LoginTarget(url, key_for(url, home, env), trust(url, None))
    login = read_login(home)
    key = env.get(TOKEN, "").strip() or (login.key if login is not None else "")
    if login is not None and login.url:
        return LoginTarget(login.url, key, trust(login.url, None))
    state = require_state(home)
    return LoginTarget(state.http, key or read_token(home), state.verify)


def given_url(env: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the engine that the variable names; empty without one."""
    return env.get(URL, "").strip().rstrip("/")


def key_for(url: str, home: Path, env: Mapping[str, str] = os.environ) -> str | None:
    """Return the key for the engine at a URL, if there is one: never that of another engine."""
    key = env.get(TOKEN, "").strip()
    if key:
        return key
    login = read_login(home)
    return login.key if login is not None and login.url == url else None
