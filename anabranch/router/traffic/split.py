"""Which revision answers a request, and which get a copy: the routing table, ready to be asked.

The first rule that holds decides; without one the key that keeps a caller on an arm; without that
a draw by weight. Nothing here can fail a request.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from anabranch.components.rules import Condition, prepared
from anabranch.components.sticky.keys import key_reader
from anabranch.components.sticky.rendezvous import Rendezvous
from anabranch.components.weights import DRAW, Draw, Weights
from anabranch.router.table import RoutingTable

logger = logging.getLogger("anabranch.router")


class Split:
    """One routing table's decisions. ``draw`` is the only source of chance.

    A ValueError where no revision can be drawn.
    """

    def __init__(self, table: RoutingTable, draw: Draw = DRAW) -> None:
        self._draw = draw
        self._weights = Weights(table.weights)
        self._rules = [(Condition(when), to) for when, to in _rules(table)]
        self._failed: set[str] = set()
        self.only = None if self._rules else self._weights.only
        """The revision that answers every request; None if that depends."""
        sticky = table.policy.sticky
        self._key = key_reader(sticky) if sticky is not None else None
        self._rendezvous = Rendezvous(table.weights)
        self._copies = [(n, percent / 100) for n, percent in table.mirrors.items() if percent > 0]

    def choose(
        self, headers: Mapping[str, str], parameters: Mapping[str, Any], request_id: str = ""
    ) -> int:
        """Return the revision for a request; names of ``headers`` are in lower case."""
        if self.only is not None:
            return self.only
        if self._rules:
            ruled = self._ruled(headers, parameters, request_id)
            if ruled is not None:
                return ruled
        key = self._key(headers, parameters) if self._key is not None else ""
        return self._rendezvous.pick(key) if key else self._weights.pick(self._draw())

    def is_mirrored(self, answered: int) -> bool:
        """Return whether any request that a revision has ``answered`` may be copied."""
        return any(n != answered for n, _ in self._copies)

    def mirrors(self, answered: int) -> list[int]:
        """Draw the mirrors that get a copy of a request, each by itself.

        An arm may be a mirror at the same time; of what it ``answered`` itself it gets no copy.
        """
        return [n for n, share in self._copies if n != answered and self._draw() < share]

    def _ruled(
        self, headers: Mapping[str, str], parameters: Mapping[str, Any], request_id: str
    ) -> int | None:
        request = {"id": request_id, "headers": dict(headers), "parameters": dict(parameters)}
        try:
            variables = prepared(request=request)
        except ValueError as error:
            self._log_once(str(error))
            return None
        return next((to for rule, to in self._rules if self._holds(rule, variables)), None)

    def _holds(self, rule: Condition, variables: Any) -> bool:
        try:
            return rule.holds(variables)
        except ValueError as error:
            self._log_once(str(error), rule.text)
            return False

    def _log_once(self, message: str, rule: str = "") -> None:
        if rule not in self._failed:
            self._failed.add(rule)
            logger.warning("traffic rules: %s; it is taken not to match", message)


def _rules(table: RoutingTable) -> Iterator[tuple[str, int]]:
    """Conditions and revisions, of those rules whose target is there."""
    named = {"stable": table.stable, "candidate": table.candidate}
    for rule in table.policy.rules or ():
        target = named[rule.to] if rule.to in named else int(rule.to.removeprefix("r"))
        if target is not None and target in table.revisions:
            yield rule.when, target
