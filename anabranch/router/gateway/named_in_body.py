"""Requests whose graph is named in their body: those of OpenAI's API."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from anabranch.access.identity import Identity
from anabranch.router.backend import GraphState
from anabranch.router.http.compression import coding_of
from anabranch.router.http.doors.openai.fields import model_of
from anabranch.router.http.doors.openai.models import list_document, model_document
from anabranch.router.http.request import BodyRule, HttpRequest, Message, Receive
from anabranch.router.oip.helper_process import by_size
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.specs.models import ProtocolName

_PIECE = 2**18
"""Bytes of a body that are copied at a time."""


async def graph_in_body(request: HttpRequest, rule: BodyRule) -> str:
    """Return the graph that the body of a request names; the body can be received again.

    Raises InvalidRequest where it names none, and as ``HttpRequest.buffer`` does.
    """
    sent = await request.sent(rule)
    request.receive = _again(sent, request.receive)
    name = request.headers.get("content-encoding")
    coding = None if name is None else coding_of(name)
    body = sent if coding is None else await request.unpacked(sent, coding, rule)
    return await by_size(body, model_of)


def _again(body: Buffer, receive: Receive) -> Receive:
    """Give a body that was received once more, a piece at a time, and then what comes."""
    starts = iter(range(0, len(body) or 1, _PIECE))

    async def received() -> Message:
        at = next(starts, None)
        if at is None:
            return await receive()
        end = at + _PIECE
        piece = bytes(body[at:end])
        return {"type": "http.request", "body": piece, "more_body": end < len(body)}

    return received


def models(
    graphs: Mapping[str, GraphState], identity: Identity, everywhere: Collection[ProtocolName]
) -> dict[str, Any]:
    """Return the graphs that somebody may know of, as OpenAI's API and as V1 list them.

    ``data`` has those that answer over OpenAI's API, ``models`` the names of those that answer over
    V1. Over the protocols of ``everywhere`` all do.
    """
    shown = {name: state for name, state in graphs.items() if identity.may("describe", name)}

    def over(protocol: ProtocolName) -> list[str]:
        return [
            name
            for name, state in shown.items()
            if state["live"] and (protocol in everywhere or protocol in state.get("protocols", ()))
        ]

    data = [model_document(name, shown[name].get("created", 0)) for name in over("openai")]
    return {**list_document(data), "models": over("v1")}
