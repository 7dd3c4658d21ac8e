"""``access``: who may do what, and why."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from anabranch.access.roles import ACTIONS
from anabranch.cli import options
from anabranch.cli.commands.access.keys import grants_text
from anabranch.cli.completion import graph_names
from anabranch.cli.terminal import confirm, note
from anabranch.errors import InvalidRequest, SpecError

Json = dict[str, Any]
Kind = StrEnum("Kind", ["key", "subject", "group", "certificate", "anonymous"])
Action = StrEnum("Action", sorted(ACTIONS))  # type: ignore[misc]


def _who(text: Any) -> tuple[Kind, str]:
    """Return the kind and the name of somebody; raise BadParameter for any other text."""
    if isinstance(text, tuple):
        return text
    kind, _, name = text.partition(":")
    if kind not in list(Kind) or (kind == Kind.anonymous) == bool(name):
        raise typer.BadParameter(
            f"{text!r} is nobody; say anonymous, or one of "
            + ", ".join(f"{one}:NAME" for one in Kind if one is not Kind.anonymous)
        )
    return Kind(kind), name


def check(
    who: Annotated[
        Any,
        typer.Argument(
            metavar="WHO",
            parser=_who,
            help="key:NAME, subject:NAME, group:NAME, certificate:NAME or anonymous.",
        ),
    ],
    what: Annotated[Action, typer.Argument(metavar="WHAT", help="Action.")],
    graph: Annotated[
        str,
        typer.Argument(
            metavar="GRAPH",
            help="Name of the graph; the engine as a whole if left out.",
            autocompletion=graph_names,
        ),
    ] = "",
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Say whether somebody may do something; exits with 1 where they may not.

    Actions are describe, view, call, feedback, deploy, operate and administer.
    """
    kind, name = who
    with options.client(home) as client:
        found = client.check_access(kind, name, what, graph)
    options.show(found, output, check_text)
    if not found["allowed"]:
        raise typer.Exit(1)


def show(home: options.Home = None, output: options.Output = options.Format.TABLE) -> None:
    """Print the policy in force, as it was set, and what callers without a key may do."""
    with options.client(home) as client:
        found = client.access()
    options.show(found, output, lambda found: found["policy"] or "# no policy is set")
    if output is not options.Format.JSON:
        note(f"callers without a key have {grants_text(found['anonymous'])}")


def put(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The policy in YAML; an empty file removes the policy, after asking.",
            exists=True,
            dir_okay=False,
        ),
    ],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Remove the policy without asking.")
    ] = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Replace the policy: roles for keys, certificates, subjects, groups and anonymous callers.

    All mistakes of the file are printed with line and column; then nothing is changed.
    """
    from anabranch.control.access.policy import read_policy

    text = file.read_bytes()
    try:
        if text.strip():
            read_policy(text, str(file))
    except SpecError as error:
        raise InvalidRequest(f"the policy has mistakes, and is not set:\n{error}") from None
    if not text.strip() and not yes:
        confirm(f"{file} is empty: remove the policy, with all its roles, limits and quotas?")
    with options.client(home) as client:
        found = client.set_access(text.decode())
    options.show(found, output, lambda found: f"the policy is in force; rules: {found['rules']}")


def me(home: options.Home = None, output: options.Output = options.Format.TABLE) -> None:
    """Say who you are to the engine, and which roles you have."""
    with options.client(home) as client:
        options.show(client.me(), output, me_text)


def check_text(found: Json) -> str:
    """Return the answer to a check in words."""
    said = "allowed" if found["allowed"] else f"refused: {found['why']}"
    return f"{said}\nroles: {grants_text(found['roles'])}"


def me_text(found: Json) -> str:
    """Return who somebody is, in words."""
    who = f"{found['kind']} {found['name']}" if found["name"] else f"the engine's {found['kind']}"
    return f"{who}: {grants_text(found['roles'])}"
