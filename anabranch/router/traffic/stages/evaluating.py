"""Stages around the evaluation of a request: its limit, span, decision, explanation, encoding."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from functools import partial

from anabranch.graph.calls.generators import each, within
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

    def stream(request: InferenceRequest) -> Responses:
        return within(limit, inner.stream(request))

    return Evaluation(infer, stream)


def traced(inner: Evaluation, revision: int) -> Evaluation:
    """Record the evaluation as a span, of a request that is traced."""
    name, evaluate = f"arm r{revision}", inner.infer

    async def recorded(request: InferenceRequest) -> InferenceResponse:
        with below(request, name, revision=revision):
            return await evaluate(request)

    def infer(request: InferenceRequest) -> Awaitable[InferenceResponse]:
        return evaluate(request) if request.trace is None else recorded(request)

    def stream(request: InferenceRequest) -> Responses:
        responses = inner.stream(request)
        if request.trace is None:
            return responses
        return within(below(request, name, revision=revision), responses)

    return Evaluation(infer, stream)


def decided(inner: Evaluation, revision: int, made: Made, signatures: Signatures) -> Evaluation:
    """Remember what was decided about a request, and tell it signed in its response."""

    def tell(request: InferenceRequest, response: InferenceResponse) -> InferenceResponse:
        decision = decision_of(request.known_as, revision, response.path)
        response.parameters[ROUTING] = routing(decision, signatures)
        made.add(decision, response.outputs)
        return response

    async def infer(request: InferenceRequest) -> InferenceResponse:
        return tell(request, await inner.infer(request))

    def stream(request: InferenceRequest) -> Responses:
        untold = True

        def tell_once(response: InferenceResponse) -> InferenceResponse:
            nonlocal untold
            if not untold:
                return response
            untold = False
            return tell(request, response)

        return each(partial(inner.stream, request), tell_once)

    return Evaluation(infer, stream)


def explained(
    inner: Evaluation, explainers: Explainers, others: Explainers | None, limit: ConcurrencyLimit
) -> Evaluation:
    """Explain a request beside its prediction, where it asks for that; not one that streams.

    ``others`` are the explainers of the stable revision; None for an arm that is the stable one.
    """
    evaluate = inner.infer

    async def both(request: InferenceRequest) -> InferenceResponse:
        with beside(explainers, others, request, limit) as told:
            response = await evaluate(request)
            response.parameters |= await told()
        return response

    def infer(request: InferenceRequest) -> Awaitable[InferenceResponse]:
        return both(request) if EXPLAIN in request.parameters else evaluate(request)

    return Evaluation(infer, inner.stream)


def encoded(inner: Evaluation) -> Answering:
    """Encode the response."""
    evaluate = inner.infer

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        response = await evaluate(request)
        answer = encode(response)
        return response, await answer if isinstance(answer, Coroutine) else answer

    return Answering(infer, inner.stream)
