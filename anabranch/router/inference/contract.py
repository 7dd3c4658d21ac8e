"""The contract between protocols, the core and heads: requests, their responses, and metadata.

Protocol adapters make an ``InferenceRequest`` of bytes, and bytes of an ``InferenceResponse``; a
``Head`` evaluates the graph in between.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from msgspec import Struct

from anabranch.components.annotations import Annotations
from anabranch.components.contract import Context, NodeFeedback
from anabranch.graph.calls.cache_status import header_of, is_kept
from anabranch.specs.models import Compare, Content
from anabranch.telemetry.trace import Trace

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Evaluated(Struct):
    """A graph's outputs by name, and the seconds that they took where they were made."""

    outputs: Mapping[str, Array]
    seconds: float
    path: Mapping[str, str] = {}
    """Routes that were picked, by router node."""
    annotations: Annotations | None = None
    """Tags, names of columns and measures of components; None where there are none."""


class Verdict(Struct, frozen=True):
    """The verdict on a mirror's answer: its agreement with the client's answer, and its time."""

    agreed: bool
    """Equal classes, or for outputs that have none, close."""
    close: bool
    """All elements equal, floats within the tolerance."""
    seconds: float


class Head(Protocol):
    """Evaluates a graph; in this process or elsewhere, the core cannot tell."""

    def obstacle(self) -> str:
        """Return why an output of the graph cannot be computed now; empty if all can."""

    async def run(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> Evaluated:
        """Evaluate the graph's outputs, or only those named.

        Raises NodeError, Unavailable or DeadlineExceeded.
        """

    def stream(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> AsyncGenerator[Evaluated, None]:
        """Evaluate likewise, where a node may stream: one or more results, or none.

        An output that does not stream is in the first result only. Closing the iterator ends the
        evaluation.
        """

    @property
    def takes_feedback(self) -> bool:
        """Whether rewards matter to a component, so that requests are to be remembered."""

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the graph's components; return whether any takes some."""

    async def only_streams(self) -> bool:
        """Return whether ``run`` refuses the graph: a node streams, and its results do not join.

        Raises Unavailable where nobody can say now.
        """

    async def compare(
        self,
        inputs: Mapping[str, Array],
        context: Context,
        outputs: Sequence[str] | None,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        """Evaluate likewise, and compare with the outputs that are ``expected``."""


class InferenceRequest(Struct):
    """A decoded request.

    BYTES tensors are arrays of ``object`` that hold ``str``, or all ``bytes`` where an element is
    no UTF-8; ``InferenceCore.check`` gives them the form that the graph declares.
    """

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...] = ()
    """Outputs that are asked for; all of them if empty."""
    id: str | None = None
    """The caller's identifier, given back in the response."""
    parameters: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    """Of the call, with names in lower case."""
    request_id: str = ""
    """Of the call; made up where the caller gave none."""
    trace: Trace | None = None
    """Where to record what is done for it; None for most."""
    protocol: Literal["http", "grpc"] = "http"
    endpoint: Literal["infer", "generate", "predict"] = "infer"
    caller: str = ""
    """The name of who asks; empty where that is nobody known."""
    annotations: Annotations | None = None
    """Tags and names of columns that came with it, over protocols that have them."""
    records: bool = False
    """Whether its log is to have the values of nodes that the spec names."""
    is_answered: bool = False
    """Whether a stream that is closed has given all that was asked for."""

    @property
    def known_as(self) -> str:
        """The caller's identifier, or else that of the call: what components and rules see."""
        return self.id or self.request_id


class OutputTensor(Struct):
    """One output, with the datatype and shape that the array has."""

    name: str
    datatype: str
    array: Array


class InferenceResponse(Struct):
    """An answer that is ready to be encoded; outputs are in the order asked for."""

    model_name: str
    model_version: str
    id: str | None
    outputs: list[OutputTensor]
    seconds: float = 0.0
    """How long the evaluation took, where it ran; clients are not told."""
    path: Mapping[str, str] = {}
    """Routes that were picked, by router node."""
    parameters: dict[str, bool | int | float | str] = {}
    """Parameters of the answer, beside its tensors."""
    annotations: Annotations | None = None
    """Tags, names of columns and measures of components; None where there are none."""
    size: int = 0
    """Bytes of the outputs, as ``check_outputs`` counts them."""

    @property
    def cache_status(self) -> str:
        """How caches on the way have handled the request; empty where there are none."""
        if self.annotations is None or not self.annotations.caches:
            return ""
        return header_of(self.annotations.caches)

    @property
    def is_kept(self) -> bool:
        """Whether the answer was made for another request, and comes from a cache."""
        return self.annotations is not None and is_kept(self.annotations.caches)


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Name and type of a tensor as clients see it; -1 in the shape stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    """Whether a request may leave the input out."""
    content: Content = "text"
    """Declared content of an input; the Open Inference Protocol has no field for it."""


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The description of a graph that clients get."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    is_complete: bool = True
    """Whether ``outputs`` are all there are: the types of some may not be known yet."""

    @property
    def takes_images(self) -> bool:
        """Whether an input may come as an image file, over protocols without tensors."""
        return any(tensor.content == "image" for tensor in self.inputs)
