"""A model of Seldon Core v2's data flow, read from its source and without Kafka.

``scheduler/data-flow``: each topic carries one message for a request, or none. A reader keeps the
tensors that its references name, renamed by ``tensorMap``, and drops a message that is left
without tensors. ``Joiner.kt`` joins messages, ``TriggerTransforms.kt`` gates them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]
Models = Mapping[str, Callable[..., Mapping[str, np.ndarray]]]


class DataFlow:
    """One request through pipelines, which are the ``spec`` of manifests by name."""

    def __init__(self, pipelines: Mapping[str, Any], models: Models) -> None:
        self.pipelines = pipelines
        self.models = models
        self.ran: list[str] = []
        self._outputs: dict[tuple[str, str], Tensors | None] = {}

    def answer(self, pipeline: str, request: Tensors) -> Tensors | None:
        """Return what clients of a pipeline get; None where nothing is ever sent to its output."""
        self.request = request
        return self.topic(pipeline, pipeline, "outputs")

    def topic(self, pipeline: str, owner: str, side: str) -> Tensors | None:
        """Return the message of a topic."""
        spec = self.pipelines[pipeline]
        if owner == pipeline and side == "outputs":
            output = spec["output"]
            return self.joined(pipeline, output["steps"], output.get("stepsJoin"), output)
        if owner == pipeline:
            if "input" not in spec:
                return self.request
            outer = spec["input"]
            message = self.joined("", outer["externalInputs"], outer.get("joinType"), outer)
            return self.gated(
                "", message, outer.get("externalTriggers"), outer.get("triggersJoinType")
            )
        step = next(one for one in spec["steps"] if one["name"] == owner)
        return self.inputs(pipeline, step) if side == "inputs" else self.outputs(pipeline, step)

    def inputs(self, pipeline: str, step: Any) -> Tensors | None:
        reads = step.get("inputs") or [f"{pipeline}.inputs"]
        message = self.joined(pipeline, reads, step.get("inputsJoinType"), step)
        return self.gated(pipeline, message, step.get("triggers"), step.get("triggersJoinType"))

    def outputs(self, pipeline: str, step: Any) -> Tensors | None:
        key = pipeline, step["name"]
        if key not in self._outputs:
            message = self.inputs(pipeline, step)
            self._outputs[key] = None
            if message is not None:
                self.ran.append(step["name"])
                self._outputs[key] = dict(self.models[step["name"]](**message))
        return self._outputs[key]

    def joined(
        self, pipeline: str, texts: list[str], join: str | None, owner: Any
    ) -> Tensors | None:
        """Join messages: all, or those that are there; of two tensors of a name the first."""
        streams = self.streams(pipeline, texts, owner.get("tensorMap", {}))
        there = [message for message in streams if message]
        if not there or (join in (None, "inner") and len(there) < len(streams)):
            return None
        return {name: array for message in reversed(there) for name, array in message.items()}

    def gated(
        self, pipeline: str, message: Tensors | None, texts: list[str] | None, join: str | None
    ) -> Tensors | None:
        streams = self.streams(pipeline, texts or [], {})
        there = [one for one in streams if one]
        enough = len(there) == len(streams) if join in (None, "inner") else bool(there)
        return message if not streams or enough else None

    def streams(
        self, pipeline: str, texts: list[str], renames: Mapping[str, str]
    ) -> list[Tensors | None]:
        """Return what is left of the message of each topic; references of one topic go together."""
        topics: dict[tuple[str, str, str], list[str]] = {}
        for text in texts:
            *topic, tensor = self.parsed(pipeline, text)
            topics.setdefault(tuple(topic), []).extend([tensor] if tensor else [])  # type: ignore
        found: list[Tensors | None] = []
        for (own, owner, side), wanted in topics.items():
            key = f"{owner}.{side}" if pipeline or own == owner else f"{own}.step.{owner}.{side}"
            message = self.topic(own, owner, side)
            found.append(
                None
                if message is None
                else {
                    renames.get(f"{key}.{name}", name): array
                    for name, array in message.items()
                    if not wanted or name in wanted
                }
            )
        return found

    def parsed(self, pipeline: str, text: str) -> tuple[str, str, str, str]:
        """Return pipeline, owner, side and tensor of a reference."""
        parts = text.split(".")
        if not pipeline and len(parts) > 1 and parts[1] == "step":
            return parts[0], parts[2], *([*parts[3:], "outputs", ""][:2] if len(parts) < 5
                                         else parts[3:5])  # type: ignore # fmt: skip
        own = pipeline or parts[0]
        side = "inputs" if pipeline and parts == [pipeline] else "outputs"
        return own, parts[0], *([*parts[1:], ""][:2] if len(parts) > 1 else [side, ""])  # type: ignore
