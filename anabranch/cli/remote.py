"""Engines on other machines: options before the command, and commands that are none for these.

The options are the variables of the same meaning, set for this one command.
"""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from anabranch.errors import EngineError

URL, TOKEN, CA = "ANABRANCH_URL", "ANABRANCH_TOKEN", "ANABRANCH_CA"
"""Variables that say which engine, by which key, and whose certificates."""
_MOST = 16_384
"""Longest key that is read, in characters."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@contextmanager
def chosen(url: str, token_file: Path | None, ca: Path | None) -> Iterator[None]:
    """Set the variables to what is not empty, and put them back at the end.

    Raise EngineError for a file of a key that cannot be used.
    """
    key = "" if token_file is None else key_in(token_file)
    given = {URL: url, TOKEN: key, CA: "" if ca is None else str(ca)}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update({name: value for name, value in given.items() if value})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def own_home(home: Path | None) -> Path:
    """Return the home of an engine on this machine, for a command that only works there.

    Call it before the engine's modules are imported. Raise BadParameter where another engine was
    asked for, and EngineError where this installation is that of a client, without Ray.
    """
    from anabranch.client.connection.engine_state import resolve_home
    from anabranch.client.connection.login import given_url

    if url := given_url():
        raise typer.BadParameter(
            f"this command works on the engine's own machine only: run it there, or leave out --url"
            f" and the variable {URL}, which say {url}"
        )
    if importlib.util.find_spec("ray") is None:
        raise EngineError(
            "this installation has no Ray, without which no engine runs here: install"
            " `anabranch` with its dependencies, or name an engine elsewhere by --url"
        )
    return resolve_home(home)


def key_in(path: Path) -> str:
    """Return the key in a file; EngineError if there is none, or others can read it."""
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read(_MOST).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"cannot read a key from {path}: {error}") from None
    if mode & _OTHERS:
        raise EngineError(
            f"{path} holds a key, and others may read it (mode {mode:04o}): `chmod 600 {path}`"
        )
    if not key:
        raise EngineError(f"{path} is empty, and should hold the engine's token, or a key")
    return key
