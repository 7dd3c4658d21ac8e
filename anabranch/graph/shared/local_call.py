"""Calls of a node to a shared model in the same process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from anabranch.components.contract import Context, NodeFeedback
from anabranch.errors import NodeError, StatusError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.shared.model_node import SharedModelNode


class LocalModelCall:
    """A ``SegmentCall`` to the executor of a shared model's graph.

    ``joins`` tells whether the results of a model that streams can be joined; None for others.
    """

    def __init__(self, node: SharedModelNode, model: HeadExecutor, joins: bool | None) -> None:
        self._node = node
        self._model = model
        self._joins = joins

    async def __call__(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        """Evaluate the node, which is all of ``wants``."""
        try:
            outputs = await self._model.run(self._node.inputs(values), context)
        except StatusError:
            raise
        except NodeError as error:
            raise NodeError(self._node.name, f"{self._node.model}: {error.reason}") from None
        return {self._node.name: self._node.value(outputs)}

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the model; return whether its component takes some."""
        return self._node.is_reached(given.path) and await self._model.feedback.give(given)

    async def streaming(self) -> Mapping[str, bool]:
        """The node, if the model streams, and whether its results can be joined."""
        return {} if self._joins is None else {self._node.name: self._joins}

    async def stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        """The values of a model that streams."""
        async with aclosing(self._model.stream(self._node.inputs(values), context)) as found:
            async for outputs in found:
                yield self._node.value(outputs)
