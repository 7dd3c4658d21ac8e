"""Built-in strategies of router nodes: each request goes to one of the node's routes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from anabranch.components.contract import Context
from anabranch.components.registry import register
from anabranch.components.rules import Condition, mistakes, prepared
from anabranch.components.sticky.keys import input_key, key_reader
from anabranch.components.sticky.rendezvous import Rendezvous
from anabranch.components.tensors.arrays import Array
from anabranch.components.weights import Weights
from anabranch.errors import Mistake, StatusError
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Router

_NOBODY = Context()


@register("router", "weighted")
class Weighted:
    """Chooses a route by the weights; with equal shares for a list of routes.

    With ``sticky``, requests with the same key go along the same route, in every replica and after
    any restart, as long as the weights are the same; a larger weight moves keys to that route only.
    Every other request is drawn at random. ``seed`` makes the sequence of draws repeatable, for
    tests.

    Args:
        seed: Seed of the draws, for tests; fresh draws in each replica if left out.
    """

    def __init__(self, node: Router, node_name: str, *, seed: int | None = None) -> None:
        self._weights = Weights(_weights(node))
        self._draw = random.Random(seed).random
        self._key = _key_of(node)
        # Two routers, also one behind the other, must not choose alike.
        self._rendezvous = Rendezvous(_weights(node), salt=f"{node_name}/")

    @staticmethod
    def check(node: Router) -> Iterable[Mistake]:
        """Find missing routes, weights that sum to 0, and fields of other strategies."""
        if node.routes is None:
            yield ("routes",), "the strategy 'weighted' needs routes (node: weight)"
        else:
            yield from _wrong_weights(node)
        for field in ("rules", "otherwise"):
            if getattr(node, field) is not None:
                yield (field,), f"{field} belongs to the strategy 'rules', not 'weighted'"
        if node.sticky is not None and node.sticky.input is not None:
            name = node.sticky.input
            if name not in node.inputs:
                yield ("sticky", "input"), f"the node has no such input{hint(name, node.inputs)}"

    def route(self, /, context: Context = _NOBODY, **inputs: Array) -> str:
        """Return the name of a route; raise InvalidRequest for several sticky keys in one input."""
        key = self._key(context, inputs) if self._key is not None else ""
        return self._rendezvous.pick(key) if key else self._weights.pick(self._draw())


def _key_of(router: Router) -> Callable[[Context, Mapping[str, Array]], str] | None:
    """Return the reader of a request's sticky key; None for a router without."""
    sticky = router.sticky
    if sticky is None:
        return None
    if (name := sticky.input) is not None:
        return lambda context, inputs: input_key(name, inputs[name])
    read = key_reader(sticky)
    return lambda context, inputs: read(context.headers, context.parameters)


def _wrong_weights(router: Router) -> Iterable[Mistake]:
    try:
        Weights(_weights(router))
    except ValueError as error:
        yield ("routes",), str(error)


def _weights(router: Router) -> Mapping[str, float]:
    routes = router.routes or []
    return routes if isinstance(routes, dict) else dict.fromkeys(routes, 1.0)


@register("router", "rules")
class Rules:
    """Chooses the route of the first rule whose condition holds, else ``otherwise``.

    Where no rule holds and there is no ``otherwise``, the request fails with ``status``. Conditions
    are in the Common Expression Language. They see ``request`` (``id``, ``headers`` by names in
    lower case and ``parameters``) and the node's ``inputs``, as nested lists. Where an element of
    an input is a JSON document, ``json(inputs.x[0])`` is its value, null for a text that is no
    JSON; no condition holds that looks for what is not in there.
    ``gjson_exists(inputs.x[0], "a.b")`` tells whether the document has something at a path of
    GJSON.

    Args:
        status: Status of HTTP, from 400 to 599, with which a request fails if no rule holds.
    """

    def __init__(
        self,
        node: Router,
        node_name: str,
        *,
        status: Annotated[int, Field(ge=400, le=599)] = 404,
    ) -> None:
        self._node, self._status = node_name, status
        self._rules = [(Condition(rule.when), rule.to) for rule in node.rules or ()]
        self._reads_inputs = any(condition.reads_inputs for condition, _ in self._rules)
        self._otherwise = node.otherwise

    @staticmethod
    def check(node: Router) -> Iterable[Mistake]:
        """Find missing rules and conditions that cannot work."""
        if node.rules is None:
            yield ("rules",), "the strategy 'rules' needs rules"
        if isinstance(node.routes, dict):
            yield ("routes",), "weights belong to the strategy 'weighted', not 'rules'"
        if node.sticky is not None:
            yield ("sticky",), "sticky belongs to the strategy 'weighted', not 'rules'"
        if "status" in node.args and node.otherwise is not None:
            yield ("args", "status"), "has no meaning beside `otherwise`; remove one"
        for index, rule in enumerate(node.rules or ()):
            for mistake in mistakes(rule.when, node.inputs):
                yield ("rules", index, "when"), mistake

    def route(self, /, context: Context, **inputs: Array) -> str:
        """Return the name of a route.

        Raise StatusError if no rule holds and there is no ``otherwise``.
        """
        variables = self._variables(context, inputs)
        for condition, target in self._rules:
            if condition.holds(variables):
                return target
        if self._otherwise is None:
            said = "no rule holds, and there is no 'otherwise'"
            raise StatusError(self._node, said, self._status)
        return self._otherwise

    def _variables(self, context: Context, inputs: Mapping[str, Array]) -> Any:
        request = {
            "id": context.id,
            "headers": dict(context.headers),
            "parameters": dict(context.parameters),
        }
        if not self._reads_inputs:
            return prepared(request=request)
        tensors = {key: one.tolist() for key, one in inputs.items()}
        return prepared(request=request, inputs=tensors)
