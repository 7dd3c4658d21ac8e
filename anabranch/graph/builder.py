"""The language as Python: build a graph by chained calls, run it, write it as YAML.

::

    graph = (
        Graph("digits")
        .input("pixels", "FP32", [-1, 64])
        .transformer("scale", component=Scale, args={"by": 16.0}, inputs={"pixels": "pixels"})
        .predictor("forest", runtime="sklearn", model="models/forest.joblib", inputs={"x": "scale"})
        .output("label", "forest")
    )
    graph.run({"pixels": images})
    graph.save("graph.yaml")

The graph is checked when ``spec``, ``plan``, ``run`` or another result is needed: then all mistakes
are reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from pydantic import BaseModel

from anabranch.components.contract import Context
from anabranch.errors import SpecError
from anabranch.graph.compile.loading import Loaded, Pass, load_data, open_graph
from anabranch.graph.compile.render import to_mermaid
from anabranch.graph.local import Array, LocalGraph, loading_in
from anabranch.graph.plan.plan import Plan
from anabranch.specs.dump import to_yaml
from anabranch.specs.models import (
    Batching,
    Caching,
    Compare,
    Content,
    ContractName,
    GraphPlacement,
    InferenceGraph,
    ModelWatch,
    Placement,
    ProtocolName,
    Reference,
    RequestLog,
    Resources,
    Rollout,
    RouterSticky,
    Rule,
    Scaling,
    Secret,
    Serving,
    StandIn,
    Sticky,
    TensorSpec,
    TrafficRule,
    Triggers,
)
from anabranch.specs.units import Duration, Percentage

Component = str | type
Fields = Mapping[str, Any]
Type = TensorSpec | tuple[str, Sequence[int]] | Fields


class NodeOptions(TypedDict, total=False):
    """Optional fields of nodes of every type."""

    contract: ContractName
    args: Fields
    env: Mapping[str, str]
    secrets: Mapping[str, Secret | Fields]
    outputs: Mapping[str, Type]
    resources: Resources | Fields
    scaling: Scaling | Fields
    placement: Placement | Fields
    batching: Batching | Fields
    timeout: Duration | str
    idempotent: bool
    deterministic: bool
    cache: Caching | Fields
    retries: int
    on_error: str | StandIn | Fields
    triggers: Triggers | Fields


class GraphBuilder:
    """An inference graph under construction. Every method that declares a part returns the graph.

    ``run`` and ``explain`` load nodes into this process; ``close``, or leaving a ``with`` block,
    unloads them.
    """

    def __init__(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        timeout: Duration | str | None = None,
        scaling: Scaling | Fields | None = None,
        placement: GraphPlacement | Fields | None = None,
        serving: Serving | Fields | None = None,
        protocols: Sequence[ProtocolName] = (),
        cache: Caching | Fields | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        """Start a graph with a name.

        Relative paths in the graph start from ``root``, or from the working folder if it is None.
        ``timeout`` bounds a request. ``scaling`` and ``placement`` hold for the graph's
        routers; nodes have their own. ``serving`` gives the graph a port of its own.
        ``protocols`` are those over which the graph answers beside the Open Inference Protocol.
        An engine keeps answers of the graph as ``cache`` says.
        """
        self.name = name
        self._labels = dict(labels or {})
        self._inputs: dict[str, Any] = {}
        self._nodes: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}
        self._rest = _given(
            timeout=timeout,
            scaling=scaling,
            placement=placement,
            serving=serving,
            protocols=list(protocols) or None,
            cache=cache,
        )
        """Further fields of the spec."""
        self.root = Path(root or ".").resolve()
        self.is_model = False
        """Whether it stands for a shared model, whose document it was loaded from."""
        self._loaded: Loaded | None = None
        self._local: LocalGraph | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a graph from a YAML file. Raise SpecError with all mistakes in the file.

        The document of a shared model is the graph that it stands for, to be run here; only the
        file itself can be deployed.
        """
        loaded = open_graph(Path(path))
        graph = cls.from_spec(loaded.graph, root=loaded.root)
        graph.is_model = loaded.plan.is_model
        return graph

    @classmethod
    def from_spec(cls, spec: InferenceGraph, root: str | os.PathLike[str] | None = None) -> Self:
        """Make a graph from a validated spec."""
        data = spec.to_dict()
        graph = cls(spec.name, labels=data["metadata"].get("labels"), root=root)
        graph._rest = data["spec"]
        parts = (graph._rest.pop(part) for part in ("inputs", "nodes", "outputs"))
        graph._inputs, graph._nodes, graph._outputs = parts
        return graph

    def input(
        self,
        name: str,
        datatype: str,
        shape: Sequence[int | str],
        content: Content = "text",
        optional: bool = False,
    ) -> Self:
        """Declare an input: a tensor that every request must carry, unless it is ``optional``.

        ``datatype`` is one of the Open Inference Protocol, such as FP32; -1 in ``shape`` stands for
        any size, a symbol such as "rows" for one that is equal in all inputs that have the symbol.
        BYTES reach components as ``str``, or as ``bytes`` where ``content`` is "raw"; UINT8 may be
        an "image".
        """
        spec: dict[str, Any] = {"datatype": datatype, "shape": list(shape)}
        if optional:
            spec["optional"] = True
        if content != "text":
            spec["content"] = content
        return self._put(self._inputs, name, spec, "input")

    def output(self, name: str, source: str) -> Self:
        """Declare an output of the graph, from a graph input, a node, or ``node.output``."""
        return self._put(self._outputs, name, source, "output")

    def transformer(
        self,
        name: str,
        *,
        inputs: Mapping[str, str],
        component: Component | None = None,
        method: str | None = None,
        quorum: int | None = None,
        optional_outputs: Sequence[str] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Add a transformer: your class as ``component``, or the built-in ``method``.

        ``inputs`` maps parameters of the component to sources, of which ``quorum`` must be there.
        The component may leave out ``optional_outputs``.
        """
        return self._node(
            name,
            "transformer",
            options,
            component=component,
            method=method,
            inputs=inputs,
            quorum=quorum,
            optional_outputs=optional_outputs,
        )

    def predictor(
        self,
        name: str,
        *,
        inputs: Mapping[str, str],
        component: Component | None = None,
        runtime: str | None = None,
        model: str | os.PathLike[str] | None = None,
        sha256: str | None = None,
        watch: bool | ModelWatch | Fields = False,
        method: str | None = None,
        quorum: int | None = None,
        optional_outputs: Sequence[str] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Add a predictor: your class as ``component``, or a ``runtime`` for the file ``model``.

        ``watch`` makes a new revision whenever the model moves. ``method`` is the model's method,
        such as predict_proba. ``inputs`` maps parameters to
        sources, of which ``quorum`` must be there. ``optional_outputs`` may be left out of results.
        """
        return self._node(
            name,
            "predictor",
            options,
            component=component,
            runtime=runtime,
            model=None if model is None else os.fspath(model),
            sha256=sha256,
            watch=None if watch is False else watch,
            method=method,
            inputs=inputs,
            quorum=quorum,
            optional_outputs=optional_outputs,
        )

    def combiner(
        self,
        name: str,
        *,
        inputs: Sequence[str] | Mapping[str, str],
        component: Component | None = None,
        strategy: str | None = None,
        quorum: int | None = None,
        optional_outputs: Sequence[str] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Add a combiner over a list of sources, or a map of parameters to sources.

        ``quorum`` is the fewest inputs with which the combiner goes on where others are absent or
        failed. The component may leave out ``optional_outputs``.
        """
        return self._node(
            name,
            "combiner",
            options,
            component=component,
            strategy=strategy,
            quorum=quorum,
            optional_outputs=optional_outputs,
            inputs=inputs,
        )

    def router(
        self,
        name: str,
        *,
        component: Component | None = None,
        strategy: str | None = None,
        routes: Mapping[str, float] | Sequence[str] | None = None,
        sticky: RouterSticky | Fields | None = None,
        rules: Sequence[Rule | Fields] | None = None,
        otherwise: str | None = None,
        broadcast: str | None = None,
        skip: str | None = None,
        inputs: Mapping[str, str] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Add a router node; its outputs are those of the route that it chooses.

        ``routes`` are nodes, for the strategy ``weighted`` with weights, and ``sticky`` the key by
        which that strategy keeps a client on one route. The strategy ``rules``
        takes ``rules``, and ``otherwise`` for requests without a matching rule, which fail with
        404 if it is left out. A component's ``route`` may return ``BROADCAST`` or None, for the
        nodes ``broadcast`` and ``skip``.
        """
        return self._node(
            name,
            "router",
            options,
            component=component,
            strategy=strategy,
            routes=routes,
            sticky=sticky,
            rules=rules,
            otherwise=otherwise,
            broadcast=broadcast,
            skip=skip,
            inputs=inputs,
        )

    def explainer(
        self,
        name: str,
        *,
        component: Component | None = None,
        explains: str | None = None,
        method: str | None = None,
        model: str | os.PathLike[str] | None = None,
        sha256: str | None = None,
        watch: bool | ModelWatch | Fields = False,
        data: str | os.PathLike[str] | None = None,
        inputs: Mapping[str, str] | None = None,
        colocate: bool | None = None,
        sample: Percentage | str | None = None,
        seed: int = 0,
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Add an explainer of a node, or of the whole graph if ``explains`` is None.

        The explainer is your class as ``component``, or the built-in ``method``, which may be
        fitted on the file ``data`` or loaded from ``model``, which ``watch`` follows.
        """
        return self._node(
            name,
            "explainer",
            options,
            component=component,
            explains=explains,
            method=method,
            model=None if model is None else os.fspath(model),
            sha256=sha256,
            watch=None if watch is False else watch,
            data=None if data is None else os.fspath(data),
            inputs=inputs,
            colocate=colocate,
            sample=None if sample is None else str(sample),
            seed=seed or None,
        )

    def traffic(
        self,
        *,
        sticky: Sticky | Fields | None = None,
        rules: Sequence[TrafficRule | Fields] | None = None,
        compare: Compare | Fields | None = None,
        grace: Duration | str | None = None,
    ) -> Self:
        """Set how requests are split between revisions: sticky keys, rules, grace period."""
        self._rest["traffic"] = _given(sticky=sticky, rules=rules, compare=compare, grace=grace)
        return self._changed()

    def rollout(self, rollout: Rollout | Fields | None = None, **fields: Any) -> Self:
        """Set how a new revision takes over: a Rollout, or its fields as keywords."""
        self._rest["rollout"] = plain(rollout if rollout is not None else fields)
        return self._changed()

    def monitor(
        self,
        name: str,
        *,
        component: Component | None = None,
        method: str | None = None,
        args: Mapping[str, Any] | None = None,
        watches: Sequence[str] | None = None,
        reference: Reference | Fields | None = None,
        window: int = 200,
        sample: Percentage | str | None = None,
    ) -> Self:
        """Add a monitor of the sources ``watches``, or of all graph inputs if it is None.

        The monitor is your class as ``component``, or the built-in ``method``. ``window`` is in
        rows.
        """
        monitor = _given(
            component=component_name(component) if isinstance(component, type) else component,
            method=method,
            args=args,
            watches=watches,
            reference=reference,
            window=window,
            sample=None if sample is None else str(sample),
        )
        return self._put(self._rest.setdefault("monitors", {}), name, monitor, "monitor")

    def telemetry(
        self,
        *,
        trace: Percentage | str | None = None,
        requests: RequestLog | Fields | None = None,
    ) -> Self:
        """Set the share of traced requests, and the request log."""
        share = None if trace is None else str(trace)
        self._rest["telemetry"] = _given(trace=share, requests=requests)
        return self._changed()

    @property
    def spec(self) -> InferenceGraph:
        """The validated spec. Raises SpecError with all mistakes."""
        return self._compiled().graph

    @property
    def plan(self) -> Plan:
        """The compiled plan. Raises SpecError with all mistakes."""
        return self._compiled().plan

    def to_yaml(self) -> str:
        """Return the spec as YAML. Raise SpecError with all mistakes."""
        return to_yaml(self.spec)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the spec to a file, as YAML. Raise SpecError with all mistakes."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    def to_mermaid(self) -> str:
        """Return the plan as a Mermaid flowchart. Raise SpecError with all mistakes."""
        return to_mermaid(self.plan)

    def compiled(self, passes: Sequence[Pass]) -> Loaded:
        """Compile the graph, with further passes. Raise SpecError with all mistakes."""
        return load_data(self._data(), self.root, passes)

    def __repr__(self) -> str:
        counts = (_count(self._inputs, "input"), _count(self._nodes, "node"))
        return f"{type(self).__name__}({self.name!r}, {', '.join(counts)})"

    def _repr_html_(self) -> str:
        """Return a drawing of the graph, or its mistakes, as a notebook shows them."""
        try:
            drawing = self.plan.drawing(by_segment=False)
        except SpecError as error:
            listed = "".join(f"<li>{escape(str(one))}</li>" for one in error.problems)
            return f"<div>{escape(repr(self))} has mistakes:</div><ul>{listed}</ul>"
        return f"<div>{escape(repr(self))}</div>{drawing}"

    def run(
        self,
        inputs: Any,
        outputs: Sequence[str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Array]:
        """Evaluate the graph in this process, without Ray.

        ``inputs`` maps each graph input to a value: NumPy arrays and torch tensors must have the
        input's datatype and shape; lists, numbers, texts and pandas objects become the input's
        datatype, unless an element does not fit it. Instead of a mapping, a pandas frame may be
        given whose columns are inputs, and for a graph with one input the value alone. ``outputs``
        names the outputs to return, all outputs if None. ``headers`` and ``parameters`` are those
        of the request's context.

        The first call loads the nodes, and later calls use them again. While they are loaded, the
        working folder of this process is the graph's root, so that relative paths in ``args`` mean
        what they mean where the graph is deployed.

        Return the outputs by name, as arrays. Raise SpecError, LoadError, ArtefactError,
        InvalidRequest, NodeError or DeadlineExceeded.
        """
        lowered = {name.lower(): value for name, value in (headers or {}).items()}
        context = Context(headers=lowered, parameters=dict(parameters or {}))
        return self._here().run(inputs, outputs, context)

    def explain(
        self, inputs: Any, explainer: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Explain the graph's answers to some inputs in this process, as ``/explain`` does.

        ``inputs`` are those of ``run``. ``explainer`` names the explainer, and
        is needed only where the graph has several. ``parameters`` are those of a request, such as
        ``target`` and ``seed``. The first call loads the explainer and the nodes that it calls,
        and later calls use them again.

        Return the reply of ``/explain``, whose ``explanations`` are one for each row, or one for
        the model as a whole. Raise as ``run`` does; raise DeadlineExceeded after the explainer's
        ``timeout``.
        """
        return self._here().explain(inputs, explainer, Context(parameters=parameters))

    def _here(self) -> LocalGraph:
        local, plan = self._local, self.plan
        if local is None:
            with loading_in(self.root):
                local = self._local = self._local or LocalGraph(plan, self.root)
        return local

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Unload the nodes that ``run`` and ``explain`` loaded."""
        local, self._local = self._local, None
        if local is not None:
            local.close()

    def _node(self, name: str, kind: str, options: NodeOptions, **fields: Any) -> Self:
        node = _given(type=kind, **fields, **options)
        if isinstance(fields["component"], type):
            node["component"] = component_name(fields["component"])
        if "outputs" in node:
            node["outputs"] = {key: _tensor(spec) for key, spec in options["outputs"].items()}
        return self._put(self._nodes, name, node, "node")

    def _put(self, into: dict[str, Any], name: str, value: Any, what: str) -> Self:
        if name in into:
            raise ValueError(f"graph {self.name!r} already has the {what} {name!r}")
        into[name] = value
        return self._changed()

    def _changed(self) -> Self:
        self._loaded = None
        self.close()
        return self

    def _compiled(self) -> Loaded:
        if self._loaded is None:
            self._loaded = load_data(self._data(), self.root)
        return self._loaded

    def _data(self) -> dict[str, Any]:
        parts = {"inputs": self._inputs, "nodes": self._nodes, "outputs": self._outputs}
        return {
            "apiVersion": "anabranch/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": self.name, "labels": self._labels},
            "spec": parts | self._rest,
        }


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are given, as plain data."""
    return {name: plain(value) for name, value in fields.items() if value is not None}


def _count(parts: Mapping[str, Any], what: str) -> str:
    return f"{len(parts)} {what}{'' if len(parts) == 1 else 's'}"


def component_name(cls: type) -> str:
    """Return the ``package.module:Class`` of a class. Raise ValueError for a nested class."""
    if "." in cls.__qualname__:
        raise ValueError(f"{cls.__qualname__} is not at the top of a module; components must be")
    return f"{cls.__module__}:{cls.__qualname__}"


def plain(value: Any) -> Any:
    """Return models, durations, sizes, and containers of them as JSON-able data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Duration) else value


def _tensor(spec: Type) -> dict[str, Any]:
    if isinstance(spec, tuple):
        datatype, shape = spec
        return {"datatype": datatype, "shape": list(shape)}
    found: dict[str, Any] = plain(spec)
    return found
