"""The endpoint that shows the lines that a graph's processes have written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Routes,
    answer,
    present,
    views,
    whole_number,
)
from anabranch.control.nodes.logs import EngineLogs
from anabranch.control.observe.logs import MAX_LINES, Wanted
from anabranch.control.store.store import Store


class LogApi:
    """Answers what shows logs; ``applications`` are Serve's, by name.

    | method | path | answers |
    |---|---|---|
    | GET | ``/graphs/<graph>/logs?tail=100&after=&node=&…`` | lines, see ``_show`` |
    """

    def __init__(
        self, store: Store, lines: EngineLogs, applications: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._store = store
        self._lines = lines
        self._applications = applications
        self.routes: Routes = {f"{GRAPH}/logs": views(self._show)}

    async def _show(self, call: ApiCall) -> ApiAnswer:
        """Answer with lines and a cursor, see ``EngineLogs``.

        They are filtered by ``node``, ``revision``, ``request_id`` and ``machine``.
        """
        await asyncio.to_thread(present, self._store, call.graph)
        query = call.query
        count = whole_number(query, "tail", 100, MAX_LINES)
        revision = whole_number(query, "revision", 0, 10**9) if "revision" in query else None
        wanted = Wanted(query.get("node", ""), revision, query.get("request_id", ""))
        found = await self._lines.read(
            self._applications(), call.graph, wanted, count, query.get("after"),
            query.get("machine", ""),
        )  # fmt: skip
        return answer(200, found._asdict())
