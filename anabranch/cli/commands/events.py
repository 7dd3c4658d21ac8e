"""``events``: what has happened to the graphs of an engine, who did it, and if the log is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from anabranch.cli import options
from anabranch.cli.completion import graph_names
from anabranch.cli.input import shares
from anabranch.cli.reports.traffic import local
from anabranch.cli.terminal import counted, result, result_json
from anabranch.cli.watch import followed

if TYPE_CHECKING:
    from anabranch.client.client import ControlClient

Json = dict[str, Any]


class EventFormat(StrEnum):
    """The format in which events are printed, one to a line."""

    TABLE = "table"
    JSON = "json"
    CLOUDEVENTS = "cloudevents"


class ListByDefault(TyperGroup):
    """A group whose command ``list`` may be left out: ``events shop`` is ``events list shop``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``list`` in front of what begins with no command of the group."""
        is_asked = bool(args) and args[0] in {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if is_asked else ["list", *args])


def moment(text: Any) -> float:
    """Return a duration ago, such as 2h, or a time in ISO 8601 as Unix time.

    Raise BadParameter for any other text.
    """
    from anabranch.specs.units import Duration

    if isinstance(text, float):
        return text
    reads: tuple[Callable[[str], float], ...] = (
        lambda given: time.time() - Duration.parse(given).seconds,
        lambda given: datetime.fromisoformat(given).timestamp(),
    )
    for read in reads:
        try:
            return read(text)
        except (ValueError, OverflowError):
            continue
    raise typer.BadParameter(
        f"{text[:64]!r} is neither a duration such as 2h or 1d nor a time such as 2026-01-31T12:00"
    )


Since = Annotated[
    float | None,
    typer.Option(
        "--since",
        parser=moment,
        metavar="TIME",
        help="Earliest time: 2h for two hours ago, or 2026-01-31T12:00.",
    ),
]


def events(
    graph: Annotated[
        str | None,
        typer.Argument(
            metavar="GRAPH",
            help="Name of one graph, or a pattern such as 'shop-*'; all graphs if left out.",
            autocompletion=graph_names,
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Kind of event, or a pattern such as 'rollout_*'.")
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option("--actor", help="Who acted: a kind such as engine, a name, or key:NAME."),
    ] = None,
    since: Since = None,
    until: Annotated[
        float | None,
        typer.Option("--until", parser=moment, metavar="TIME", help="Time at which events end."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", "-r", help="Revision, such as r4.")
    ] = None,
    tail: Annotated[
        int, typer.Option("--tail", min=0, max=1000, help="Number of earlier events.")
    ] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and print new events.")
    ] = False,
    home: options.Home = None,
    output: Annotated[
        EventFormat, typer.Option("--output", "-o", help="Format of each event, on a line.")
    ] = EventFormat.TABLE,
) -> None:
    """Print what has happened: deploys, traffic, rollouts, drift, and who did it. Oldest first."""
    number = None if revision is None else shares.revision(revision)
    filters = {"kind": kind, "actor": actor, "since": since, "until": until, "revision": number}
    with options.client(home) as client:
        if graph is not None and "*" not in graph:
            client.history(graph, 1)  # an unknown graph is an error, not one without events
        for event in _events(client, graph, filters, tail, follow):
            _FORMATS[output](event)


def verify(
    contains: Annotated[
        str | None,
        typer.Option(
            "--contains", metavar="HASH", help="Hash of an event, as an earlier call gave it."
        ),
    ] = None,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Verify the hash chain over the log of events, and print the hash of the newest event.

    Exits with 1 if the chain is broken, or does not have the HASH that is to be in it. Keep the
    printed hash elsewhere: whoever may write to the database can write a whole new chain, which
    does not have it.
    """
    with options.client(home) as client:
        found = client.verify_events(contains)
    options.show(found, output, verification_text)
    if found["broken"] is not None or found["contains"] is False:
        raise typer.Exit(1)


def verification_text(found: Json) -> str:
    """Return the outcome of a verification as lines."""
    count = found["verified"]
    lines = [f"{counted(count, 'event')} verified"]
    if count:
        lines[0] += f", {found['first']} to {found['last']}; the newest has the hash"
        lines.append(found["hash"])
    if found["unrecorded"]:
        lines.append(
            f"{found['unrecorded']} of them are older than the chain, which holds them as they were"
            " found"
        )
    if found["broken"] is not None:
        lines.append(f"broken at event {found['broken']}: {found['reason']}")
    if found["contains"] is False:
        lines.append(
            "the chain does not have the hash that was given: it was written anew, or pruned beyond"
            " that event"
        )
    return "\n".join(lines)


def event_text(event: Json) -> str:
    """Return one event as a line, its time in the local zone."""
    at = local(datetime.fromtimestamp(event["at"], UTC))
    revision = "" if event["revision"] is None else f" r{event['revision']}"
    said = f": {event['message']}" if event["message"] else ""
    by = actor_text(event["actor"])
    return f"{at}  {event['graph'] or '-'}{revision} {event['kind']}{said}{by and f' ({by})'}"


def actor_text(actor: Json) -> str:
    """Return who acted, and from where; nothing for the engine as a whole, and where not known."""
    if actor["kind"] in ("engine", "unrecorded"):
        return f"by {actor['name']}" if actor["name"] else ""
    by = f"by {actor['kind']} {actor['name']}".rstrip()
    return f"{by} from {actor['address']}" if actor["address"] else by


def _as_json(event: Json) -> None:
    result_json(event, indent=None)


def _as_cloud_event(event: Json) -> None:
    from anabranch.control.observe.cloud_event import cloud_event

    result_json(cloud_event(event), indent=None)


_FORMATS: Mapping[EventFormat, Callable[[Json], None]] = {
    EventFormat.TABLE: lambda event: result(event_text(event)),
    EventFormat.JSON: _as_json,
    EventFormat.CLOUDEVENTS: _as_cloud_event,
}


def _events(
    client: ControlClient,
    graph: str | None,
    filters: Mapping[str, Any],
    tail: int,
    follow: bool,
) -> Iterator[Json]:
    """Yield the newest ``tail`` events, and with ``follow`` new events for ever."""
    # First: what happens between the two calls is among those found.
    newest = client.newest_events(None, 1) if follow else []
    found = client.newest_events(graph, tail, filters) if tail else []
    yield from found

    def later(last: int) -> tuple[list[Json], int]:
        new = client.events(graph, last, filters)
        return new, new[-1]["id"] if new else last

    if follow:
        yield from followed(max((one["id"] for one in (*newest, *found)), default=0), later)
