"""Models of one kind in one node, addressed by a parameter of the request.

The runtime is constructed for a model when it is first asked for, and let go when others need its
place.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anabranch.components.artefacts.uris import is_uri
from anabranch.components.contract import Bound, Context
from anabranch.components.models.cache import CacheTally, Held, ModelCache
from anabranch.components.parameters import is_context, parameters_of
from anabranch.components.raised import kept_in_task, settled
from anabranch.components.tensors.arrays import Array
from anabranch.errors import InvalidRequest, NotFound
from anabranch.pulse import PULSE
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import Multiplex, Predictor

PLACE = "{model}"
"""Where the name of the model goes in the field ``model``."""
MAX_THREADS = 16
"""Threads that load models and calculate with them, in one node."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MOST_HINTS = 1000
"""Models among which names like the one asked for are looked for."""

Construct = Callable[[Predictor], Any]
"""Constructs the runtime for a predictor whose ``model`` is that of one model."""


@dataclass(frozen=True)
class _Loaded:
    bound: Bound
    places: asyncio.Semaphore


class Multiplexed:
    """A runtime with a model for each value of a request parameter."""

    def __init__(self, node: Predictor, root: Path, construct: Construct) -> None:
        assert node.multiplex is not None and node.model is not None
        self._node, self._root, self._construct = node, root, construct
        self.rule: Multiplex = node.multiplex
        self._template = node.model
        self._cache = ModelCache(self._load, _unload, node.multiplex.max_loaded)
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="anabranch-multiplex")

    @property
    def tally(self) -> CacheTally:
        """Hits, misses and times so far."""
        return self._cache.tally

    @property
    def loaded(self) -> tuple[str, ...]:
        """The models that are in memory, or on their way there."""
        return self._cache.names

    async def predict(self, /, *, context: Context, **inputs: Array) -> Any:
        """Return what the runtime makes of the inputs with the model that the request names.

        Raises InvalidRequest where it names none, NotFound where there is no such model.
        """
        name = self._name(context)
        held = await self._cache.hold(name)
        more = {"context": context} if held.model.bound.wants_context else {}
        return await self._call(held, {**inputs, **more})

    def _name(self, context: Context) -> str:
        parameter = self.rule.parameter
        if parameter not in context.parameters:
            raise InvalidRequest(f"the parameter {parameter!r} is missing: it names the model")
        name = context.parameters[parameter]
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise InvalidRequest(
                f"parameter {parameter!r} is {shown(name)}, which is no name of a model: at most "
                "128 letters, digits, '.', '_' and '-', the first a letter or digit"
            )
        return name

    async def _load(self, name: str) -> _Loaded:
        with PULSE.resting():
            return await kept_in_task(self._prepared(name))

    async def _prepared(self, name: str) -> _Loaded:
        model = self._template.replace(PLACE, name)
        loop = asyncio.get_running_loop()
        construct = partial(self._constructed, name, model)
        instance = (await loop.run_in_executor(self._pool, settled, construct))()
        is_async = inspect.iscoroutinefunction(instance.predict)
        wants_context = any(map(is_context, parameters_of(instance.predict) or ()))
        bound = Bound(name, instance, instance.predict, is_async, wants_context)
        await bound.load()
        return _Loaded(bound, asyncio.Semaphore(int(getattr(instance, "max_concurrency", 1))))

    def _constructed(self, name: str, model: str) -> Any:
        if not is_uri(model) and not (self._root / model).exists():
            raise NotFound(f"there is no model {name!r}{hint(name, self._names())}")
        return self._construct(self._node.model_copy(update={"model": model}))

    def _names(self) -> list[str]:
        """Return some of the models that the bundle holds."""
        before, _, after = self._template.partition(PLACE)
        pattern = re.compile(re.escape(before) + r"([^/]+)" + re.escape(after))
        paths = self._root.glob(self._template.replace(PLACE, "*"))
        found = (pattern.fullmatch(path.relative_to(self._root).as_posix()) for path in paths)
        names = (match.group(1) for match in found if match is not None)
        return sorted(name for name, _ in zip(names, range(_MOST_HINTS), strict=False))

    async def _call(self, held: Held[_Loaded], inputs: dict[str, Any]) -> Any:
        """Call the model, which stays until the call has ended, even if nobody waits for it."""
        model = held.model
        if model.bound.is_async:
            try:
                return await model.bound.call(**inputs)
            finally:
                held.release()
        try:
            await model.places.acquire()
        except BaseException:
            held.release()
            raise
        loop = asyncio.get_running_loop()
        call = partial(PULSE.beaten, partial(model.bound.call, **inputs))
        work = loop.run_in_executor(self._pool, settled, call)
        work.add_done_callback(partial(_finished, held))
        return (await asyncio.shield(work))()

    async def unload(self) -> None:
        """Let go of all models."""
        await self._cache.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _finished(held: Held[_Loaded], done: asyncio.Future[Any]) -> None:
    held.model.places.release()
    held.release()
    if not done.cancelled():
        done.exception()  # Seen, also where the caller has gone.


async def _unload(model: _Loaded) -> None:
    await kept_in_task(model.bound.unload())
