"""Evaluates graphs in the calling process, without Ray: for notebooks and unit tests."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson

from anabranch.components.contract import Bound, Context
from anabranch.components.tensors.datatypes import matches
from anabranch.components.tensors.given import by_input, to_tensor
from anabranch.components.variables import saved
from anabranch.errors import AnabranchError, InvalidRequest
from anabranch.graph.calls.values import protect
from anabranch.graph.execute.executor import HeadExecutor, SegmentCall
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from anabranch.graph.explain.answers import chosen
from anabranch.graph.explain.explainer import Explaining
from anabranch.graph.plan.contents import convert_input
from anabranch.graph.plan.plan import Plan
from anabranch.graph.plan.symbols import check_symbols, symbols_of
from anabranch.graph.shared.local_models import LocalModels, ModelsOf, shared_nodes

T = TypeVar("T")
Array = np.ndarray[Any, Any]
_loading = threading.RLock()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return an event loop in a thread of its own; so ``run`` works below a running loop too."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="anabranch-local", daemon=True).start()
    return loop


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the local loop and wait for its result; an interrupt cancels it.

    Raise AnabranchError on the local loop itself, which would wait for itself.
    """
    try:
        _not_on_the_loop()
    except AnabranchError:
        work.close()
        raise
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _not_on_the_loop() -> None:
    if asyncio._get_running_loop() is _loop():
        raise AnabranchError(
            "a component cannot run another graph in its constructor, in load() or in a coroutine, "
            "all of which hold up the loop that graphs of this process run on: run it in a "
            "synchronous method, or deploy it and ask it through a client"
        )


@contextmanager
def loading_in(root: Path) -> Iterator[None]:
    """Make ``root`` the working folder, as it is where a deployed graph is loaded.

    So relative paths in ``args`` mean the same. The folder is the whole process's; one thread loads
    graphs at a time.
    """
    _not_on_the_loop()
    with _loading, chdir(root) if root.is_dir() else nullcontext():
        yield


class LocalGraph:
    """A compiled graph with all of its nodes loaded in this process."""

    def __init__(self, plan: Plan, root: Path, models: ModelsOf = LocalModels.load) -> None:
        """Load every node. Raise LoadError or ArtefactError with the name of the node.

        ``models`` are the shared models that nodes use: those with documents in ``root``, unless
        others are given. It raises what these do, too.

        The nodes' variables are in the environment of this process until ``close``. Where nodes
        that are to have processes of their own give one name several values, each node finds its
        own value while it is loaded.
        """
        self._plan = plan
        self._root = root
        apart = {*plan.signature.explainers, *shared_nodes(plan)}
        names = [name for name in plan.nodes if name not in apart]
        self._restore = saved(node.spec for node in plan.nodes.values())
        try:
            with loading_in(root):
                self._models = wait(models(plan, root))
                self._bound = wait(self._load(names))
        except BaseException:
            self._restore()
            raise
        self._executor = wait(self._build())
        self._finalizer = weakref.finalize(self, self._executor.close)
        self._explainers: dict[str, Explaining] = {}

    async def _load(self, names: Sequence[str]) -> dict[str, Bound]:
        try:
            return await load_nodes(self._plan, names, self._root)
        except BaseException:
            await self._models.close()
            raise

    async def _build(self) -> HeadExecutor:
        return HeadExecutor(self._plan, self._bound, self._models.calls)

    def run(
        self,
        inputs: Any,
        outputs: Sequence[str] | None = None,
        context: Context | None = None,
    ) -> dict[str, Array]:
        """Evaluate the graph once; see ``Graph.run``."""
        arrays = checked_inputs(self._plan, inputs)
        return wait(self._evaluate(arrays, outputs, context or Context()))

    async def _evaluate(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None, context: Context
    ) -> dict[str, Array]:
        deadline = time.monotonic() + self._plan.timeout
        async with asyncio.timeout(self._plan.timeout):
            return await self._executor.run(inputs, replace(context, deadline=deadline), outputs)

    def explain(self, inputs: Any, explainer: str | None, context: Context) -> dict[str, Any]:
        """Explain the rows of one request; see ``Graph.explain``."""
        name = chosen(
            self._plan.signature.explainers, explainer, repr(self._plan.name), "explainer"
        )
        arrays = checked_inputs(self._plan, inputs)
        found = wait(self._explaining(name).explain(arrays, context))
        document: dict[str, Any] = orjson.loads(orjson.dumps(found.document(name)))
        return document

    def _explaining(self, name: str) -> Explaining:
        """Return an explainer, which the first call loads."""
        if name not in self._explainers:
            with loading_in(self._root):
                if name not in self._explainers:  # another thread may have been first
                    plan = in_one_process(self._plan)
                    loading = Explaining.load(plan, name, self._root, self._models.call)
                    self._explainers[name] = wait(loading)
        return self._explainers[name]

    def close(self) -> None:
        """Unload every node."""
        for explaining in self._explainers.values():
            wait(unload_nodes(explaining.bound, self._root))
            explaining.close()
        wait(unload_nodes(self._bound, self._root))
        wait(self._models.close())
        self._finalizer()
        self._restore()


def in_one_process(plan: Plan) -> Plan:
    """Return the plan with all nodes but the explainers in the head."""
    explainers = plan.signature.explainers
    others = tuple(part for part in plan.segments if part.name in explainers or part.model)
    apart = {name for part in others for name in part.nodes}
    nodes = tuple(name for name in plan.nodes if name not in apart)
    return replace(plan, segments=(replace(plan.head, nodes=nodes), *others))


def no_call(segment: str) -> SegmentCall:
    """Refuse a call of another process, of which a plan ``in_one_process`` has none."""
    raise AssertionError(f"segment {segment!r} is in this process")


def checked_inputs(plan: Plan, inputs: Any) -> dict[str, Array]:
    """Return the inputs as arrays of the declared types. Raise InvalidRequest for a wrong input."""
    declared = {name: spec.tensor for name, spec in plan.inputs.items()}
    given = by_input(inputs, declared, plan.name)
    arrays = {}
    for name, spec in plan.inputs.items():
        if name not in given and spec.optional:
            continue
        if name not in given:
            raise InvalidRequest(f"input {name!r} ({spec}) is missing")
        array = to_tensor(name, given[name], spec.tensor)
        reason = matches(spec.tensor, array)
        if reason is not None:
            raise InvalidRequest(f"input {name!r}: {reason}")
        if spec.datatype == "BYTES":
            array = convert_input(name, spec.content, array)
        arrays[name] = protect(array)
    check_symbols(symbols_of(plan.inputs), arrays)
    return arrays
