"""``keys``: API keys of an engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.reports.traffic import local
from anabranch.cli.terminal import confirm, note, result, result_json, table
from anabranch.errors import EngineError

if TYPE_CHECKING:
    from anabranch.client.client import ControlClient

Json = dict[str, Any]
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")]


def show(
    ctx: typer.Context,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """List the API keys that count; no key itself is ever shown again."""
    options.listed(ctx, home, output, lambda client: client.api_keys(), keys_text)


def create(
    name: KeyName,
    roles: Annotated[
        list[str],
        typer.Option(
            "--role",
            metavar="ROLE",
            help="viewer, invoker, feedback, deployer, operator or admin. Repeatable.",
        ),
    ],
    graphs: Annotated[
        list[str] | None,
        typer.Option(
            "--graph",
            metavar="PATTERN",
            help="Names of graphs, in which * stands for any text; all if left out. Repeatable.",
        ),
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(
            "--expires",
            parser=options.duration,
            metavar="DURATION",
            help="Time for which the key counts, such as 90d; without end if left out.",
        ),
    ] = None,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Make an API key, and print it on stdout, this once."""
    with options.client(home) as client:
        _told(client.create_key(name, roles, graphs or ["*"], expires), output)


def rotate(
    name: KeyName,
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap",
            parser=options.duration,
            metavar="DURATION",
            help="Time for which the key before counts, too; 0s revokes it at once.",
            show_default="1d",
        ),
    ] = 86_400.0,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Make another key of a name, with the same roles, and print it on stdout, this once."""
    with options.client(home) as client:
        _told(client.rotate_key(name, overlap), output)


def revoke(
    name: KeyName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Revoke all keys of a name: they count nowhere once the command ends."""
    with options.client(home) as client:
        known(client, name)
        if not yes:
            confirm(f"revoke key {name!r}? Whoever uses it is refused from then on")
        options.show(client.revoke_key(name), output, lambda found: f"key {name!r} is revoked")


def known(client: ControlClient, name: str) -> None:
    """Raise EngineError for a key that is not there, or not to be seen."""
    names = {one["name"] for one in client.api_keys()}
    if name not in names:
        there = f"there are: {', '.join(sorted(names))}" if names else "there are none"
        raise EngineError(f"there is no key {name!r}; {there}")


def keys_text(keys: list[Json]) -> str:
    """Return keys as a table, one a line."""
    columns = ("NAME", "ROLES", "EXPIRES", "CREATED", "BY")
    rows = [
        (
            one["name"],
            grants_text(one["roles"]),
            "never" if one["expires_at"] is None else _at(one["expires_at"]),
            _at(one["created_at"]),
            one["author"],
        )
        for one in keys
    ]
    return table(columns, rows)


def grants_text(grants: list[dict[str, str]]) -> str:
    """Return roles with the graphs that each is for, as text."""
    return ", ".join(f"{one['role']} on {one['graphs']}" for one in grants) or "no role"


def _at(seconds: float) -> str:
    return local(datetime.fromtimestamp(seconds, UTC))


def _told(made: Json, output: options.Format) -> None:
    if output is options.Format.JSON:
        result_json(made)
        return
    result(made["key"])
    ends = "without an end" if made["expires_at"] is None else f"until {_at(made['expires_at'])}"
    note(f"key {made['name']!r}: {grants_text(made['roles'])}, {ends}; it is not shown again")
