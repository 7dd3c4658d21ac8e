"""An event of an engine's log as a CloudEvent 1.0 in structured JSON.

Source: ``spec.md`` and ``formats/json-format.md`` of https://github.com/cloudevents/spec.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from anabranch.client.control import CONTROL, graph_path
from anabranch.router.request_log.events import JSON, VERSION

MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
_DATA = ("graph", "revision", "message", "data", "change", "actor", "hash")


def cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of the control API as a CloudEvent.

    ``source`` is the graph's path in the control API, ``type`` ends with the event's kind, and
    ``subject`` is the path of its revision below the graph, if it is of one.
    """
    number = event["revision"]
    subject = {} if number is None else {"subject": f"revisions/{number}"}
    return {
        "specversion": VERSION,
        "id": str(event["id"]),
        "source": graph_path(event["graph"]) if event["graph"] else CONTROL,
        "type": f"io.anabranch.event.v1.{quote(event['kind'], safe='')}",
        "time": datetime.fromtimestamp(event["at"], UTC).isoformat(timespec="microseconds"),
        **subject,
        "datacontenttype": JSON,
        "data": {name: event[name] for name in _DATA},
    }
