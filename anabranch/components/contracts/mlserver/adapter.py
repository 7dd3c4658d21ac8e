"""Objects with anabranch's contract, each of which calls a model with MLServer's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from anabranch.components.contract import METHODS, CannotLoad, Context
from anabranch.components.contracts.adapting import with_status
from anabranch.components.contracts.mlserver.logged_metrics import REQUEST, measure_logged
from anabranch.components.contracts.mlserver.loop_thread import LoopThread
from anabranch.components.contracts.mlserver.requests import outputs_of, request_of
from anabranch.components.registry import type_of
from anabranch.components.tensors.arrays import Array
from anabranch.specs.models import NodeBase


class AdaptedMLModel:
    """A model with the hooks of our contract, and the method of its node's type.

    Its coroutines run in a thread of their own, as in MLServer's workers (``parallel/worker.py``).
    """

    def __init__(self, model: Any, method: str, node: NodeBase, name: str) -> None:
        import mlserver.context
        import mlserver.errors
        import mlserver.types

        measure_logged()
        self._model, self._name = model, name
        self._types, self._context = mlserver.types, mlserver.context
        self._failure = mlserver.errors.MLServerError
        self._outputs = tuple(node.outputs or ())
        self._thread = LoopThread(f"anabranch-mlserver-{name}")
        entry = self._stream if method == "predict_stream" else self._predict
        setattr(self, METHODS[type_of(node)], entry)

    async def load(self) -> None:
        """Load the model; CannotLoad where it says that it is not ready then."""
        self._thread.start()
        self._model.ready = await self._thread.run(self._hook("load"))
        if not self._model.ready:
            raise CannotLoad(f"load() returned {self._model.ready!r}: the model is not ready")

    async def check_health(self) -> None:
        """Raise RuntimeError where the model says that it is not ready any more."""
        if not self._model.ready:
            raise RuntimeError("the model is not ready")

    async def unload(self) -> None:
        """Unload the model, and end its thread."""
        if not self._thread.is_started:
            return
        try:
            await self._thread.run(self._hook("unload"))
        finally:
            await self._thread.stop()

    async def _predict(self, *, context: Context, **inputs: Array) -> dict[str, Array]:
        return await self._thread.run(self._answer(inputs, context))

    async def _stream(
        self, *, context: Context, **inputs: Array
    ) -> AsyncGenerator[dict[str, Array], None]:
        async with aclosing(self._thread.iterate(self._answers(inputs, context))) as answers:
            async for outputs in answers:
                yield outputs

    # What follows runs on the loop of the thread. `mlserver.log` asks for the model meanwhile.

    async def _hook(self, name: str) -> Any:
        with self._context.model_context(self._model.settings):
            return await getattr(self._model, name)()

    async def _answer(self, inputs: Mapping[str, Array], context: Context) -> dict[str, Array]:
        with self._asked(context):
            return outputs_of(await self._model.predict(self._request(inputs, context)))

    async def _answers(
        self, inputs: Mapping[str, Array], context: Context
    ) -> AsyncGenerator[dict[str, Array], None]:
        requests = _only(self._request(inputs, context))
        async with aclosing(self._model.predict_stream(requests)) as responses:
            while True:
                with self._asked(context):
                    response = await anext(responses, None)
                if response is None:
                    return
                yield outputs_of(response)

    @contextmanager
    def _asked(self, context: Context) -> Iterator[None]:
        """Tell ``mlserver.log`` the request; raise errors with the status that they have."""
        REQUEST.set(context)
        try:
            with self._context.model_context(self._model.settings):
                yield
        except self._failure as error:
            failure = with_status(self._name, str(error), error.status_code)
            if failure is None:
                raise
            raise failure from error

    def _request(self, inputs: Mapping[str, Array], context: Context) -> Any:
        return request_of(self._types, inputs, self._outputs, context)


async def _only(request: Any) -> AsyncIterator[Any]:
    yield request
