"""Every door, in one list."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.router.http.doors.calls import GraphCalls
from anabranch.router.http.doors.contract import Door
from anabranch.router.http.doors.document_door import DocumentDoor
from anabranch.router.http.doors.openai.door import OpenAiDoor
from anabranch.router.http.doors.plain_json.door import PlainJsonDoor
from anabranch.router.http.doors.seldon.door import SeldonDoor
from anabranch.router.http.doors.v1.door import V1Door
from anabranch.router.traffic.feedback import Feedback

DOORS: tuple[Callable[[GraphCalls, Feedback | None], Door], ...] = (
    PlainJsonDoor,
    V1Door,
    OpenAiDoor,
    SeldonDoor,
    DocumentDoor,
)
"""Makes of each door, given the calls of its graph, and the way of rewards if there is one."""
