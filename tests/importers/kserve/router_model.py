"""KServe's router in Python, from ``cmd/router/main.go`` of kserve/kserve: what a graph answers.

It shares nothing with the importer but GJSON paths, which have a test of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from anabranch.components.documents.paths import exists

Response = tuple[bytes, int]
Call = Callable[[str, bytes], Response]
"""Posts a body to a URL; raises Failed where there is no answer."""


class Failed(Exception):
    """``err`` of the router: it answers ``status`` with the reason, whatever else happened."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


def answer(nodes: Mapping[str, Any], body: bytes, call: Call, draw: int = 0) -> Response:
    """Return body and status for a request; raise Failed. ``draw`` is the number of Splitters."""
    return _route_step("root", nodes, body, call, draw)


def _route_step(
    name: str, nodes: Mapping[str, Any], body: bytes, call: Call, draw: int
) -> Response:
    node = nodes[name]
    return _ROUTERS[node["routerType"]](node["steps"], nodes, body, call, draw)


def _execute(step: Any, nodes: Mapping[str, Any], body: bytes, call: Call, draw: int) -> Response:
    try:
        if step.get("nodeName"):
            return _route_step(step["nodeName"], nodes, body, call, draw)
        return call(step["serviceUrl"], body)
    except Failed as failure:
        raise Failed(500, str(failure)) from None


def _splitter(steps: Any, nodes: Any, body: bytes, call: Call, draw: int) -> Response:
    end = 0
    for step in steps:
        end += step["weight"]
        if draw < end:
            return _execute(step, nodes, body, call, draw)
    raise Failed(500, "no route was selected by the splitter")


def _switch(steps: Any, nodes: Any, body: bytes, call: Call, draw: int) -> Response:
    if _is_json(body):
        for step in steps:
            if _exists(body, step.get("condition", "")):
                return _execute(step, nodes, body, call, draw)
    raise Failed(404, "None of the routes matched with the switch condition")


def _ensemble(steps: Any, nodes: Any, body: bytes, call: Call, draw: int) -> Response:
    answers = [_execute(step, nodes, body, call, draw) for step in steps]
    for document, _ in answers:
        if not isinstance(json.loads(document), dict | None):
            raise Failed(500, "cannot unmarshal")
    merged = {}
    for index, (step, (document, status)) in enumerate(zip(steps, answers, strict=True)):
        if not _is_success(status) and step.get("dependency") == "Hard":
            return document, status
        merged[step.get("name") or str(index)] = json.loads(document)
    return json.dumps(merged).encode(), 200


def _sequence(steps: Any, nodes: Any, body: bytes, call: Call, draw: int) -> Response:
    response, status = b"", 0
    for index, step in enumerate(steps):
        request = response if step.get("data") == "$response" and index > 0 else body
        if step.get("mapPredictionsToInstances"):
            request = _mapped(request)
        if step.get("condition"):
            if not _is_json(response):
                raise Failed(500, "invalid response")
            if not _exists(response, step["condition"]):
                return response, 200
        response, status = _execute(step, nodes, request, call, draw)
        if step.get("dependency") == "Hard" and not _is_success(status):
            return response, status
    return response, status


_ROUTERS = {
    "Splitter": _splitter,
    "Switch": _switch,
    "Ensemble": _ensemble,
    "Sequence": _sequence,
}


def _mapped(request: bytes) -> bytes:
    """Go decodes into a struct of two lists: any other field is lost, any other type fails."""
    try:
        found = json.loads(request)
    except ValueError:
        return request
    if not isinstance(found, dict):
        return request
    predictions, instances = found.get("predictions"), found.get("instances")
    if not all(one is None or isinstance(one, list) for one in (predictions, instances)):
        return request
    return json.dumps({"instances": predictions}).encode() if predictions else request


def _exists(document: bytes, path: str) -> bool:
    return exists(document, path)


def _is_json(document: bytes) -> bool:
    try:
        json.loads(document)
    except ValueError:
        return False
    return True


def _is_success(status: int) -> bool:
    return 200 <= status <= 299
