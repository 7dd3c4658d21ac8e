"""``login`` and ``logout``: the key that commands and clients of this home show to an engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from anabranch.cli import options
from anabranch.cli.commands.access.rules import me_text
from anabranch.cli.remote import URL
from anabranch.cli.terminal import is_terminal, note, result

if TYPE_CHECKING:
    from pathlib import Path

_MOST = 16_384
"""Longest key that is read, in characters."""


def login(
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar=URL,
            help="URL of the engine; that of the home's engine if left out.",
            show_default=False,
        ),
    ] = "",
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Log in with a key, which is asked for on the terminal, or read from stdin.

    The engine is asked whose key it is; then it is kept in a file that only you can read. Commands
    and clients of the home show it from then on, unless ANABRANCH_TOKEN holds another one.
    """
    from anabranch.client.client import ControlClient
    from anabranch.client.connection.engine_state import require_state, resolve_home
    from anabranch.client.connection.login import Login, write_login
    from anabranch.client.connection.trust import trust

    folder = resolve_home(home)
    url = url.rstrip("/")
    key = _key()
    if url:
        asked, verify = url, trust(url, None)
    else:
        state = require_state(folder)
        asked, verify = state.http, state.verify
    with ControlClient(asked, key, verify=verify) as client:
        me = client.me()
    write_login(folder, Login(url, key))
    options.show(me, output, lambda me: f"logged in as {me_text(me)}")


def logout(home: options.Home = None) -> None:
    """Forget the key of `login`; the engine keeps it until it is revoked."""
    from anabranch.client.connection.engine_state import resolve_home
    from anabranch.client.connection.login import TOKEN, remove_login

    folder: Path = resolve_home(home)
    result("logged out" if remove_login(folder) else f"there was no login in {folder}")
    note(
        f"{TOKEN} counts where it is set; else the token of the engine in {folder}, if it is yours"
    )


def _key() -> str:
    """Return the key that is typed, unseen, or sent to stdin."""
    if is_terminal():
        typed: str = typer.prompt("Key", hide_input=True, err=True)
        return typed.strip()
    return sys.stdin.read(_MOST).strip()
