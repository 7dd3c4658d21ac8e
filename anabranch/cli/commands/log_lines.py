"""Lines of a graph's log: as text, and followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from anabranch.cli.watch import followed

if TYPE_CHECKING:
    from anabranch.client.client import ControlClient


def text(line: dict[str, Any]) -> str:
    """Return one line, and below it the traceback, if there is one."""
    at = line["time"][:23].replace("T", " ")
    node = f"{line['node']}: " if line.get("node") else ""
    asked = f" (request {line['request_id']})" if line.get("request_id") else ""
    level = line.get("level", "")
    where = " ".join(filter(None, (line.get("machine"), line["replica"])))
    head = f"{at} {level:<7} [{where}] {node}{line['message']}{asked}".strip()
    told = str(line.get("exception") or "").splitlines()
    return "\n".join([head, *(f"    {one}" for one in told)])


def nothing(graph: str, wanted: Mapping[str, Any]) -> str:
    """Return what to say where no line of a graph passes the filters."""
    filters = [f"{name.replace('_', '-')} {value}" for name, value in wanted.items() if value]
    return f"there are no lines of {', '.join([f'graph {graph}', *filters])}"


def lines(
    client: ControlClient, graph: str, tail: int, follow: bool, **wanted: Any
) -> Iterator[dict[str, Any]]:
    """Yield the last ``tail`` lines, and with ``follow`` new lines for ever.

    ``wanted`` are the filters of ``ControlClient.logs``. With ``follow``, wait for an engine that
    does not answer for a while.
    """

    def later(cursor: str) -> tuple[list[dict[str, Any]], str]:
        new = client.logs(graph, after=cursor, **wanted)
        return new["lines"], new["cursor"]

    found = client.logs(graph, tail, **wanted)
    yield from found["lines"]
    if follow:
        yield from followed(found["cursor"], later)
