"""Explanations as a router sees to them: which explainer, by when, and beside a prediction or not.

Explainers are in processes of their own. What asks them holds a place of a gate of its own, so that
however many wait there, predictions have theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import orjson
from msgspec.structs import replace

from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, Unavailable
from anabranch.graph.explain.answers import ExplainerReply, NoExplainer, chosen
from anabranch.graph.plan.plan import ExplainerTerms
from anabranch.router.errors import UnencodableOutput, status_of
from anabranch.router.inference.contract import Array, InferenceRequest
from anabranch.router.inference.core import InferenceCore, context_of
from anabranch.router.limits import ConcurrencyLimit
from anabranch.router.tracing import below

EXPLAIN = "explain"
"""Parameter of inference: true, or the name of an explainer."""
EXPLAINER = "explainer"
"""Parameter of a request for an explanation: the name of the explainer."""
_REPLY_SHARE = 0.05
"""Share of a request's time that is left for its reply."""
_REPLY_S = 0.05
"""Least time left for a reply, in seconds: a large one is encoded and sent on a busy machine."""


class Explain(Protocol):
    """Asks the explainers of one revision, wherever they are."""

    async def __call__(
        self, name: str, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        """Explain a request; ``sampled`` has the explainer show the result in metrics and log.

        Raises InvalidRequest, NodeError, Unavailable or DeadlineExceeded.
        """


ExplainersOf = Callable[[int], Explain]
"""Lookup of the function that asks a revision's explainers, by the revision's number."""
Told = dict[str, bool | int | float | str]
"""Parameters of a reply."""


class Explainers:
    """The explainers of one revision."""

    def __init__(
        self, core: InferenceCore, terms: Mapping[str, ExplainerTerms], ask: Explain
    ) -> None:
        self.version = core.version
        """Number of the revision."""
        self.names = tuple(terms)
        self._core = core
        self._terms = terms
        self._ask = ask
        self.shares = {name: one.share for name, one in terms.items() if one.share > 0}
        """Shares of the live traffic that are explained, above 0 and up to 1."""

    def named(self, asked: Any, parameter: str) -> str:
        """The explainer that a parameter asks for: its name, or True or None for the only one."""
        graph = f"{self._core.name!r} (revision {self.version})"
        return chosen(self._terms, asked, graph, parameter)

    async def explain(self, request: InferenceRequest) -> bytes:
        """Answer a request for an explanation, in JSON."""
        name = self.named(request.parameters.get(EXPLAINER), EXPLAINER)
        seconds = self._core.check(request, self._terms[name].timeout)
        found = await self.within(seconds, name, request)
        return self.encoded(name, found, request.id)

    async def within(
        self,
        seconds: float,
        name: str,
        request: InferenceRequest,
        sampled: bool = False,
    ) -> ExplainerReply:
        """Have a request explained that was checked; DeadlineExceeded after so many seconds."""
        deadline = time.monotonic() + seconds
        # A copy of its own: its prediction may be made meanwhile.
        request = replace(request)
        try:
            async with asyncio.timeout(seconds) as limit:
                with below(request, f"explanation {name}", node=name, sampled=sampled):
                    context = context_of(request, deadline)
                    return await self._ask(name, request.inputs, context, sampled)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"explainer {name!r} of graph {self._core.name!r} did not answer within "
                f"{seconds:g}s, the time that it had"
            ) from None

    async def sampled(self, name: str, request: InferenceRequest) -> bool:
        """Have a request of the live traffic explained for metrics and log; whether that went well.

        Errors end here: a task that fails keeps what it held until Python's collector comes by.
        """
        try:
            seconds = self._core.check(request, self._terms[name].timeout)
            await self.within(seconds, name, request, sampled=True)
        except Exception:
            return False
        return True

    def encoded(self, name: str, found: ExplainerReply, own_id: str | None) -> bytes:
        """An answer in JSON; UnencodableOutput where it is over the limit of an answer."""
        document: dict[str, Any] = {
            "model_name": self._core.name,
            "model_version": self.version,
        }
        if own_id is not None:
            document["id"] = own_id
        answer = orjson.dumps(document | found.document(name))
        most = self._core.max_output
        if len(answer) > most:
            raise UnencodableOutput(
                f"the explanation by {name!r} has {len(answer)} bytes, over the limit of {most} "
                "bytes of an answer"
            )
        return answer

    async def answered(
        self,
        request: InferenceRequest,
        gate: ConcurrencyLimit,
        name: str,
    ) -> Told:
        """Explain a request whose prediction is made meanwhile; parameters of the reply.

        Whatever goes wrong is told there; nothing is raised.
        """
        seconds = min(self._terms[name].timeout, time_to_explain(self._core.check(request)))
        try:
            with gate:
                found = await self.within(seconds, name, request)
            explanation = self.encoded(name, found, request.id).decode()
        except Exception as error:
            return failed(name, error)
        return {"explained": True, "explanation": explanation}


@contextmanager
def beside(
    explainers: Explainers,
    others: Explainers | None,
    request: InferenceRequest,
    gate: ConcurrencyLimit,
) -> Iterator[Callable[[], Awaitable[Told]]]:
    """Explain a request, as its parameter asks, while its prediction is made within.

    It yields what to await for the parameters of the reply; if that does not happen, the
    explanation is cancelled. What ``explainers`` do not have is no mistake of the caller where the
    ``others``, those of the stable revision, do.
    """
    asked = request.parameters[EXPLAIN]
    try:
        name = None if asked is False else explainers.named(asked, EXPLAIN)
    except NoExplainer as error:
        if others is None:
            raise
        others.named(asked, EXPLAIN)
        told = failed(str(asked), error)
        yield lambda: _at_once(told)
        return
    if name is None:
        yield lambda: _at_once({})
        return
    work = explainers.answered(_copied(request), gate, name)
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield lambda: task
    finally:
        task.cancel()


async def _at_once(told: Told) -> Told:
    return told


def time_to_explain(seconds: float) -> float:
    """Return how many seconds of a request's time an explanation beside its prediction may take.

    The reply keeps its share, but not less than its least time, nor more than half.
    """
    return seconds - min(max(_REPLY_SHARE * seconds, _REPLY_S), seconds / 2)


def failed(name: str, error: Exception) -> Told:
    """Return the parameters of a reply whose explanation did not come."""
    if isinstance(error, DeadlineExceeded):
        why = f"late: {error}"
    elif isinstance(error, Unavailable):
        why = f"full: {error}"
    elif status_of(error) is None:
        why = f"failed: explainer {name!r} met an internal error"
    else:
        why = f"failed: {error}"
    return {"explained": False, "explanation_error": why[:1024]}


def _copied(request: InferenceRequest) -> InferenceRequest:
    """The request with tensors of its own: components of the head may work in place."""
    inputs = {name: array.copy() for name, array in request.inputs.items()}
    return replace(request, inputs=inputs)


def nothing_explains(revision: int) -> Explain:
    """In place of what asks explainers, where they are out of reach."""

    async def ask(
        name: str, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        raise Unavailable(f"explainer {name!r} of revision {revision} is out of reach")

    return ask
