"""Stages around the evaluation of a request: its limit, span, decision, explanation, encoding."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from contextlib import AbstractContextManager, aclosing

from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.limits import ConcurrencyLimit
from anabranch.router.signing import Signatures
from anabranch.router.tracing import below
from anabranch.router.traffic.decisions import ROUTING, Made, routing
from anabranch.router.traffic.decisions import decided as decision_of
from anabranch.router.traffic.explaining import EXPLAIN, Explainers, beside
from anabranch.router.traffic.stages.contract import (
    Answer,
    Answering,
    Encode,
    Evaluation,
    Responses,
)


def limited(inner: Evaluation, limit: ConcurrencyLimit) -> Evaluation:
    """Hold a place of a limit, which arms may share."""

    async def infer(request: InferenceRequest) -> InferenceResponse:
        with limit:
            return await inner.infer(request)

    return Evaluation(infer, lambda request: _within(limit, inner.stream(request)))


def traced(inner: Evaluation, revision: int) -> Evaluation:
    """Record the evaluation as a span, of a request that is traced."""
    name, within = f"arm r{revision}", inner.infer

    async def recorded(request: InferenceRequest) -> InferenceResponse:
        with below(request, name, revision=revision):
            return await within(request)

    def infer(request: InferenceRequest) -> Awaitable[InferenceResponse]:
        return within(request) if request.trace is None else recorded(request)

    def stream(request: InferenceRequest) -> Responses:
        responses = inner.stream(request)
        if request.trace is None:
            return responses
        return _within(below(request, name, revision=revision), responses)

    return Evaluation(infer, stream)


async def _within(held: AbstractContextManager[None], responses: Responses) -> Responses:
    with held:
        async with aclosing(responses):
            async for response in responses:
                yield response


def decided(inner: Evaluation, revision: int, made: Made, signatures: Signatures) -> Evaluation:
    """Remember what was decided about a request, and tell it signed in its response."""

    def tell(request: InferenceRequest, response: InferenceResponse) -> None:
        decision = decision_of(request.known_as, revision, response.path)
        response.parameters[ROUTING] = routing(decision, signatures)
        made.add(decision, response.outputs)

    async def infer(request: InferenceRequest) -> InferenceResponse:
        response = await inner.infer(request)
        tell(request, response)
        return response

    async def stream(request: InferenceRequest) -> Responses:
        untold = True
        async with aclosing(inner.stream(request)) as responses:
            async for response in responses:
                if untold:
                    tell(request, response)
                    untold = False
                yield response

    return Evaluation(infer, stream)


def explained(
    inner: Evaluation, explainers: Explainers, others: Explainers | None, limit: ConcurrencyLimit
) -> Evaluation:
    """Explain a request beside its prediction, where it asks for that; not one that streams.

    ``others`` are the explainers of the stable revision; None for an arm that is the stable one.
    """
    within = inner.infer

    async def both(request: InferenceRequest) -> InferenceResponse:
        with beside(explainers, others, request, limit) as told:
            response = await within(request)
            response.parameters |= await told()
        return response

    def infer(request: InferenceRequest) -> Awaitable[InferenceResponse]:
        return both(request) if EXPLAIN in request.parameters else within(request)

    return Evaluation(infer, inner.stream)


def encoded(inner: Evaluation) -> Answering:
    """Encode the response."""
    within = inner.infer

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        response = await within(request)
        answer = encode(response)
        return response, await answer if isinstance(answer, Coroutine) else answer

    return Answering(infer, inner.stream)
