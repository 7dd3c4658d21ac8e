"""The control API, below ``/control/v1``; every answer is JSON.

Its endpoints come in groups, each a class of this folder whose docstring, or that of its module,
has the paths. All runs in the controller, which is told who asks; each endpoint says what that
takes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from anabranch.access.actor import ACTOR
from anabranch.access.identity import Asker, Identity
from anabranch.control.api.endpoints import (
    JSON,
    ApiAnswer,
    ApiCall,
    EndpointGroup,
    Guarded,
    Query,
    Routes,
    answer,
    read_query,
)
from anabranch.control.models.checks import ModelUsed
from anabranch.control.observe.refusals import Refusals
from anabranch.control.store.records import write_text
from anabranch.errors import NotFound, SpecError
from anabranch.names import GRAPH_IN_PATH
from anabranch.router.errors import MethodNotAllowed, error_reply
from anabranch.router.measure.refusals import reason_of

_MAX_PATH = 256
_PART = re.compile(r"\(\?P<(\w+)>([^()]*)\)")
"""Part of a pattern that names a field of ``ApiCall``."""


class ControlApi:
    """Answers the control API by groups of endpoints; refused attempts are told to ``refusals``."""

    def __init__(self, groups: Iterable[EndpointGroup], refusals: Refusals) -> None:
        self._refusals = refusals
        routes: Routes = defaultdict(dict)
        for group in groups:
            for path, methods in group.routes.items():
                routes[path].update(methods)
        self._paths = sorted(map(_shown, routes))
        self._routes = [(re.compile(f"{path}/?"), methods) for path, methods in routes.items()]

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> ApiAnswer:
        """Answer one request, on behalf of who asks; errors become replies."""
        ACTOR.set(asker.actor)
        found: Mapping[str, str] = {}
        try:
            guarded, found = self._endpoint(method, path)
            call = _call(found, query, body, asker.identity)
            guarded.check(asker.identity, call.graph)
            return await _answered(guarded, call)
        except SpecError as error:
            return answer(400, {"error": str(error)})
        except Exception as error:
            reason = reason_of(error)
            if reason is not None:
                what = f"{method} {path[:_MAX_PATH]}: {error}"
                self._refusals.add(asker.actor, reason, what, found.get("graph", ""))
            reply = error_reply(error, "control")
            return reply.status, (*JSON, *reply.headers), bytes(reply.body)

    def _endpoint(self, method: str, path: str) -> tuple[Guarded, Mapping[str, str]]:
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method not in methods:
                raise MethodNotAllowed(method, methods)
            return methods[method], match.groupdict()
        raise NotFound(
            f"the control API has no path {path[:_MAX_PATH]!r}; it has {', '.join(self._paths)}"
        )


def _call(found: Mapping[str, str], query: str, body: bytes, identity: Identity) -> ApiCall:
    fields: Query = read_query(query)
    revision = int(found.get("revision", 0))
    graph = write_text(found.get("graph", ""))  # not every database takes any text
    others = {name: found.get(name, "") for name in ("action", "trace", "key", "node", "digest")}
    return ApiCall(graph, revision, query=fields, body=body, identity=identity, **others)


async def _answered(guarded: Guarded, call: ApiCall) -> ApiAnswer:
    """Have an endpoint answer; refusals name only the users of a model that the asker may view."""
    try:
        return await guarded.endpoint(call)
    except ModelUsed as error:
        raise error.shown_to(call.may_view) from None


def _shown(pattern: str) -> str:
    """Return the pattern of a path as users read it, such as ``/graphs/<graph>/logs``."""
    text = pattern.replace(GRAPH_IN_PATH, "")
    return _PART.sub(lambda part: part[2] if "|" in part[2] else f"<{part[1]}>", text)
