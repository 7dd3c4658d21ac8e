"""The inference core: all steps between a protocol's codec and a graph's executor.

Protocol adapters turn bytes into an ``InferenceRequest`` and an ``InferenceResponse`` into bytes;
what a request may be, how long it may take and what is answered is decided here alone, so that
protocols cannot diverge.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson

from anabranch.components.contract import Context, NodeFeedback
from anabranch.components.extras import require
from anabranch.components.tensors.datatypes import fits, to_datatype, to_dtype
from anabranch.errors import AnabranchError, DeadlineExceeded, InvalidRequest, Unavailable
from anabranch.graph.batch.batching import PRIORITY, level
from anabranch.graph.calls.generators import each, in_time
from anabranch.graph.calls.stepping import Started, in_task
from anabranch.graph.plan.contents import as_declared, contents_of
from anabranch.graph.plan.plan import Signature
from anabranch.graph.plan.symbols import check_symbols, symbols_of
from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import (
    Array,
    Evaluated,
    Head,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
    Verdict,
)
from anabranch.router.inference.output_size import check_outputs
from anabranch.router.limits import RequestLimits
from anabranch.specs.excerpts import hint, listing
from anabranch.specs.models import Compare, InputSpec, TensorSpec

T = TypeVar("T")

PLATFORM = "anabranch"
TAGS = "tags"
"""Parameter of a reply: the tags of components, as a JSON object in text."""
TIMEOUT = "timeout"
"""Request parameter that lowers the deadline: whole microseconds, 0 for the graph's own."""


class InferenceCore:
    """One revision of a graph, ready to be asked."""

    def __init__(
        self,
        name: str,
        signature: Signature,
        head: Head,
        revision: int,
        limits: RequestLimits,
    ) -> None:
        if any(spec.content == "image" for spec in signature.inputs.values()):
            require("PIL.Image", "images")
        self.name = name
        self.max_output = limits.max_output
        """Most bytes of an answer."""
        self.revision = revision
        self.version = str(revision)
        self.protocols = signature.protocols
        """Protocols over which the graph answers, beside the Open Inference Protocol."""
        self.signature = signature
        """Inputs, outputs, routers and times of the revision."""
        self._timeout = signature.timeout
        self._head = head
        self._outputs = tuple(signature.outputs)
        self._expected = {
            n: (to_dtype(spec.datatype), spec.tensor.shape) for n, spec in signature.inputs.items()
        }
        self._only_streams: bool | None = None
        self._required = {n for n, spec in signature.inputs.items() if not spec.optional}
        self._contents = contents_of(signature.inputs)
        self._symbols = symbols_of(signature.inputs)
        self._types = {n: spec for n, spec in signature.outputs.items() if spec is not None}

    def check_ready(self) -> None:
        """Raise Unavailable where an output of the graph cannot be computed now."""
        obstacle = self._head.obstacle()
        if obstacle:
            raise Unavailable(f"graph {self.name!r} is not ready: {obstacle}")

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Check a request, evaluate it within its time, and return what was asked for.

        Raises InvalidRequest, NodeError, Unavailable, DeadlineExceeded.
        """
        seconds = self.check(request)
        deadline = time.monotonic() + seconds
        context = context_of(request, deadline)
        running = Started(self._head.run(request.inputs, context, request.outputs or None))
        found = running.value if running.done else await self._within(seconds, running)
        return self._response(request, found, request.outputs or self._outputs)

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Answer as ``infer`` does, with response after response where the graph streams.

        An output that does not stream is in the first response only. The time of the request
        holds for all of them together. Closing the iterator ends the evaluation.
        """
        return each(partial(self._results, request), partial(self._part, request))

    def _results(self, request: InferenceRequest) -> AsyncGenerator[Evaluated, None]:
        seconds = self.check(request)
        deadline = time.monotonic() + seconds
        context = context_of(request, deadline)
        results = self._head.stream(request.inputs, context, request.outputs or None)
        return in_time(results, deadline, partial(self._late, seconds))

    def _part(self, request: InferenceRequest, found: Evaluated) -> InferenceResponse:
        names = [n for n in request.outputs or self._outputs if n in found.outputs]
        return self._response(request, found, names)

    def _response(
        self, request: InferenceRequest, found: Evaluated, names: Sequence[str]
    ) -> InferenceResponse:
        results = found.outputs
        if len(results) < len(names):
            optional = self.signature.optional_outputs
            names = [name for name in names if name in results or name not in optional]
        outputs = [_output(name, results[name]) for name in names]
        size = check_outputs(results, names, self.max_output)
        if len(self._types) < len(self._outputs):
            self._learn(outputs)
        response = InferenceResponse(
            self.name, self.version, request.id, outputs, found.seconds, found.path, size=size
        )
        if found.annotations is not None:
            response.annotations = found.annotations
            if found.annotations.tags:
                tags = orjson.dumps(dict(found.annotations.tags)).decode()
                response.parameters = {TAGS: tags}
        return response

    @property
    def takes_feedback(self) -> bool:
        """Whether rewards matter to a component of the graph."""
        return self._head.takes_feedback

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the graph's components; return whether any takes some."""
        return await self._head.feedback(given)

    async def only_streams(self) -> bool:
        """Return whether ``infer`` refuses the graph, since it streams: its head is asked once.

        False where nobody can say now: an evaluation fails then, and says why.
        """
        if self._only_streams is None:
            try:
                async with asyncio.timeout(self._timeout):
                    self._only_streams = await self._head.only_streams()
            except (AnabranchError, TimeoutError):
                return False
        return self._only_streams

    async def compare(
        self,
        request: InferenceRequest,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        """Evaluate a request as ``infer`` does, to see whether its answer is as ``expected``.

        It is for the caller to end this when the time of the request is over.
        """
        context = context_of(request, time.monotonic() + self.check(request))
        asked = request.outputs or None
        return await self._head.compare(request.inputs, context, asked, expected, rule)

    def check(self, request: InferenceRequest, most: float | None = None) -> float:
        """Return how long the request may take, in seconds; InvalidRequest if it is not taken.

        Inputs of BYTES become ``str`` or ``bytes``, as the graph declares them. The time is
        ``most``, the graph's time if left out, or less if the request asks for less.
        """
        self._check_inputs(request.inputs)
        if self._contents:
            request.inputs = as_declared(self._contents, request.inputs)
        if request.outputs:
            self._check_outputs(request.outputs)
        if not request.parameters:
            return self._timeout if most is None else most
        if PRIORITY in request.parameters:
            level(request.parameters)
        return self.seconds(request.parameters, most)

    def takes(self, request: InferenceRequest) -> bool:
        """Return whether ``check`` lets the request pass."""
        try:
            self.check(request)
        except InvalidRequest:
            return False
        return True

    async def _within(self, seconds: float, running: Started[T]) -> T:
        await in_task()
        try:
            async with asyncio.timeout(seconds) as limit:
                return await running
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._late(seconds) from None

    def _late(self, seconds: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"graph {self.name!r} did not answer within {seconds:g}s, the time this request had"
        )

    def seconds(self, parameters: Mapping[str, Any], most: float | None = None) -> float:
        """Return how long a request with these parameters may take: as ``check`` says."""
        if most is None:
            most = self._timeout
        if TIMEOUT not in parameters:
            return most
        value = parameters[TIMEOUT]
        if type(value) is not int or value < 0:
            raise InvalidRequest(
                f"parameter {TIMEOUT!r} must be a whole number of microseconds, got {value!r}"
            )
        return min(most, value / 1e6) if value else most

    def _check_inputs(self, inputs: Mapping[str, Array]) -> None:
        expected = self._expected
        if inputs.keys() != expected.keys() and not (
            self._required <= inputs.keys() <= expected.keys()
        ):
            raise InvalidRequest(self._wrong_names(inputs))
        for name, array in inputs.items():
            dtype, shape = expected[name]
            if array.dtype != dtype or not fits(shape, array.shape):
                raise InvalidRequest(_wrong_type(name, self.signature.inputs[name], array))
        if self._symbols:
            check_symbols(self._symbols, inputs)

    def _wrong_names(self, inputs: Mapping[str, Array]) -> str:
        takes = ", ".join(
            f"{name} {spec}{' (optional)' if spec.optional else ''}"
            for name, spec in self.signature.inputs.items()
        )
        missing = [name for name in self._expected if name in self._required - inputs.keys()]
        extra = [name for name in inputs if name not in self._expected]
        parts = [f"missing input {listing(map(repr, missing))}"] if missing else []
        parts += [f"unknown input {listing(map(repr, extra))}"] if extra else []
        return f"{' and '.join(parts)}: graph {self.name!r} takes {takes}"

    def _check_outputs(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._outputs:
                raise InvalidRequest(
                    f"graph {self.name!r} has no output {name!r}{hint(name, self._outputs)}"
                )

    def _learn(self, outputs: Sequence[OutputTensor]) -> None:
        """Keep the types of outputs that the compiler knew nothing of: datatype and rank."""
        for output in outputs:
            if output.name not in self._types:
                self._types[output.name] = TensorSpec.model_construct(
                    datatype=output.datatype, shape=(-1,) * output.array.ndim
                )

    def metadata(self, versions: tuple[str, ...] = ()) -> ModelMetadata:
        """Describe the revision, as one of ``versions``; as the only one if they are left out.

        An output of unknown type is left out until the first answer has shown its datatype and
        rank: the protocol lets ``outputs`` be incomplete, but has no word for an unknown datatype,
        and clients that hold it to the protocol's list would fail on one made up.
        """
        known = [(name, self._types[name]) for name in self._outputs if name in self._types]
        return ModelMetadata(
            self.name,
            versions or (self.version,),
            PLATFORM,
            tuple(_input_metadata(name, one) for name, one in self.signature.inputs.items()),
            tuple(TensorMetadata(name, spec.datatype, spec.shape) for name, spec in known),
            len(known) == len(self._outputs),
        )


def context_of(request: InferenceRequest, deadline: float) -> Context:
    """Return the parts of a request that components may know."""
    context = Context(
        request.known_as, request.headers, request.parameters, deadline, trace=request.trace
    )
    if request.annotations is not None:
        # Each evaluation adds to its own, for mirrors evaluate the request too.
        context.annotations.merge(request.annotations)
    if request.records:
        context.annotations.values = {}
    return context


def _wrong_type(name: str, spec: InputSpec, array: Array) -> str:
    given = f"{to_datatype(array.dtype)}{list(array.shape)}"
    return f"input {name!r} must be {spec}, got {given}"


def _output(name: str, array: Array) -> OutputTensor:
    try:
        return OutputTensor(name, to_datatype(array.dtype), array)
    except ValueError as error:
        raise UnencodableOutput(f"output {name!r}: {error}") from None


def _input_metadata(name: str, spec: InputSpec) -> TensorMetadata:
    return TensorMetadata(name, spec.datatype, spec.tensor.shape, spec.optional, spec.content)
