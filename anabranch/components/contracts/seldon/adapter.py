"""Objects with anabranch's contract, each of which calls a component with Seldon's.

What is called, in which order, and what becomes of the answer is as in ``seldon_methods.py``: a
``*_raw`` method comes first, then the plain one; ``tags`` and ``metrics`` are asked after that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anabranch.components.contract import DEFAULT_OUTPUT, METHODS, Context
from anabranch.components.contracts.seldon.branches import router_of
from anabranch.components.contracts.seldon.calling import (
    asked,
    caller,
    failing,
    is_left_out,
    own_method,
)
from anabranch.components.contracts.seldon.feedback import feedback_of
from anabranch.components.contracts.seldon.messages import message, read
from anabranch.components.contracts.seldon.metadata import (
    columns,
    measure,
    meta_of,
    put_names,
    put_tags,
)
from anabranch.components.contracts.seldon.payloads import (
    Payload,
    reader,
    shape_of,
    shaped,
    tensor_of,
)
from anabranch.components.registry import type_of
from anabranch.components.tensors.arrays import Array
from anabranch.specs.models import NodeBase
from anabranch.specs.sections.contracts import SELDON_TRANSFORMS

logger = logging.getLogger("anabranch.component")

_METHODS = {"predictor": "predict", "combiner": "aggregate", "router": "route"}


def method_of(node: NodeBase) -> str:
    """Return the name of the method that a node calls."""
    if type_of(node) == "transformer":
        return getattr(node, "method", None) or SELDON_TRANSFORMS[0]
    return _METHODS[type_of(node)]


class GivenPayload(NamedTuple):
    """What a component gets in one call; of ``aggregate`` payload and names are lists."""

    payload: Payload
    names: Sequence[Any]


class ReturnedPayload(NamedTuple):
    """What a component has returned; ``names`` of columns are None where it named none itself."""

    payload: Payload
    names: Sequence[str] | None = None


class AdaptedSeldon:
    """A component with the hooks of our contract, and the method of its node's type."""

    def __init__(self, component: Any, node: NodeBase, name: str) -> None:
        self.component = component
        self._name = name
        self._method = method_of(node)
        own = own_method(component, self._method)
        self._plain = None if own is None else caller(component, self._method, 2)
        self._raw = own_method(component, f"{self._method}_raw")
        self._tags, self._metrics = (own_method(component, name) for name in ("tags", "metrics"))
        self._route = router_of(node)
        self._output, self._rank = _output_of(node)
        self.feedback = feedback_of(component, node, name)
        self.max_concurrency = getattr(component, "max_concurrency", 1)
        setattr(self, METHODS[type_of(node)], self._entry(node))

    def load(self) -> None:
        """Load the component, and log the metadata that it tells."""
        if (load := own_method(self.component, "load")) is not None:
            asked(load)
        if (describe := own_method(self.component, "init_metadata")) is not None:
            logger.info("%s: metadata %s", type(self.component).__name__, asked(describe))

    def check_health(self) -> None:
        """Ask ``health_status``: whatever it returns says that all is well."""
        if (status := own_method(self.component, "health_status")) is not None:
            asked(status)

    def _entry(self, node: NodeBase) -> Any:
        """Return the method of our contract; with `batching` a call is of many requests."""
        sources = getattr(node, "inputs", {})
        if isinstance(sources, Mapping):
            readers = {name: reader(name) for name in sources}

        def of(named: Mapping[str, Array], context: Context | None) -> GivenPayload:
            payloads = [readers[name](tensor) for name, tensor in named.items()]
            names = [_names(context, sources[name]) for name in named]
            return self._given(payloads, names)

        def listed(inputs: list[Array], context: Context) -> Any:
            # Of a list from which inputs were left out, nobody knows which ones are there.
            known = sources if len(inputs) == len(sources) else [""] * len(inputs)
            names = [_names(context, source) for source in known]
            return self._answer(self._given([*map(reader(""), inputs)], names), context)

        def named(*, context: Context, **inputs: Array) -> Any:
            return self._answer(of(inputs, context), context)

        def batched(**inputs: Array) -> Any:
            return self._answer(of(inputs, None), None)

        if node.batching is not None:
            return batched
        return named if isinstance(sources, Mapping) else listed

    def _given(self, payloads: list[Payload], names: list[list[str]]) -> GivenPayload:
        if self._method == "aggregate":
            return GivenPayload(payloads, names)
        return GivenPayload(payloads[0], names[0])

    def _answer(self, given: GivenPayload, context: Context | None) -> Any:
        with failing(self._name):
            returned = self._called(given, context)
        if self._route is not None:
            return self._route(returned.payload)
        tensor = shaped(tensor_of(returned.payload), self._rank)
        if context is not None:
            found = returned.names
            if found is None:
                found = columns(self.component, shape_of(returned.payload, tensor))
            put_names(context, self._name, found)
        return {self._output: tensor}

    def _called(self, given: GivenPayload, context: Context | None) -> ReturnedPayload:
        meta = meta_of(context)
        if self._raw is not None:
            try:
                return self._from_raw(self._raw(self._message(given, meta)), context)
            except Exception as error:
                if self._plain is None or not is_left_out(error):
                    raise
        assert self._plain is not None, "the class was checked"
        try:
            return self._from_plain(self._plain(*given, meta=meta), context)
        except Exception as error:
            if is_left_out(error) and self._method in SELDON_TRANSFORMS:
                return ReturnedPayload(given.payload)
            raise

    def _message(self, given: GivenPayload, meta: Mapping[str, Any] | None) -> dict[str, Any]:
        if self._method != "aggregate":
            return message(given.payload, given.names, meta)
        pairs = zip(given.payload, given.names, strict=True)
        return {"seldonMessages": [message(payload, names, meta) for payload, names in pairs]}

    def _from_raw(self, returned: Any, context: Context | None) -> ReturnedPayload:
        found = read(f"{self._method}_raw", returned)
        if context is not None:
            put_tags(context, found.tags)
            measure(context, found.metrics)
        return ReturnedPayload(found.payload, found.names)

    def _from_plain(self, returned: Any, context: Context | None) -> ReturnedPayload:
        """Go by the attributes of a ``SeldonResponse``, whose class may be the package's own."""
        is_response = type(returned).__name__ == "SeldonResponse"
        if context is not None:
            self._tell(context, returned if is_response else None)
        return ReturnedPayload(returned.data if is_response else returned)

    def _tell(self, context: Context, response: Any) -> None:
        """Tags and metrics of the response come last, so its tags and gauges win."""
        if self._metrics is not None:
            measure(context, asked(self._metrics) or [])
        if self._tags is not None:
            put_tags(context, asked(self._tags) or {})
        if response is not None:
            measure(context, response.metrics)
            put_tags(context, response.tags)


def _names(context: Context | None, source: str) -> list[str]:
    return [] if context is None else list(context.names_of(source))


def _output_of(node: NodeBase) -> tuple[str, int | None]:
    """Return the name of a node's output, and its declared number of dimensions, if declared."""
    for name, spec in (node.outputs or {}).items():
        return name, len(spec.shape)
    return DEFAULT_OUTPUT, None
