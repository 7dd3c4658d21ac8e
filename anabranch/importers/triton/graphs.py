"""From models of a repository to graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anabranch.errors import FieldPath, Problem, SpecError
from anabranch.importers.graph_names import graph_name, node_name
from anabranch.importers.result import ImportedGraph, Notes, Taken, document, graph_file
from anabranch.importers.tensor_names import parameter_name, tensor_name
from anabranch.importers.triton.checks import (
    SCHEDULING,
    ensemble_problems,
    mapping_problems,
    model_problems,
)
from anabranch.importers.triton.components import COMPONENTS, component_file
from anabranch.importers.triton.fields import ENSEMBLE, note_fields, stays
from anabranch.importers.triton.local import local_node
from anabranch.importers.triton.repository import CONFIG, Repository, TritonModel, read_repository
from anabranch.importers.triton.tensors import batches, datatype, full_shape, inner_sizes, typed
from anabranch.specs.excerpts import hint, listing
from anabranch.specs.rules import RESERVED

URL = "http://localhost:8000"
"""Address that stands for that of the user's Triton."""
BATCH = "batch"
"""Symbol of the batch dimension, which all inputs of a request share."""


def import_repository(source: Path) -> list[ImportedGraph]:
    """Return the graphs of a model repository, of a model's folder, or of a ``config.pbtxt``.

    Each ensemble becomes a graph over remote models, and so does each model that is no step of an
    ensemble; ONNX models whose file is there run in the graph. Raise SpecError with every mistake.
    """
    repository, names = read_repository(source)
    problems = [one for name in names for one in _problems(repository.models[name], repository)]
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    graphs = [
        _Graph(repository, repository.models[name]).built() for name in _chosen(repository, names)
    ]
    return [_placed(graph, len(graphs) > 1) for graph in graphs]


def _problems(model: TritonModel, repository: Repository) -> Iterable[Problem]:
    yield from model_problems(model)
    if model.is_ensemble:
        own = list(ensemble_problems(model))
        yield from own
        if not own:
            yield from mapping_problems(model, repository)


def _chosen(repository: Repository, names: list[str]) -> list[str]:
    """Leave out the models that are steps of ensembles, unless only they were asked for."""
    models = [repository.models[name] for name in names]
    steps = {
        step.model_name
        for model in models
        if model.is_ensemble
        for step in model.config.message.ensemble_scheduling.step
    }
    return [model.name for model in models if model.is_ensemble or model.name not in steps]


def _placed(graph: ImportedGraph, several: bool) -> ImportedGraph:
    folder = graph.name if several else ""
    steps = (f"anabranch deploy {graph_file(folder)}",)
    return replace(graph, folder=folder, steps=steps)


@dataclass
class _Graph:
    """The graph of one model, while it is made."""

    repository: Repository
    model: TritonModel
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    components: set[str] = field(default_factory=set)
    """Classes that nodes need."""
    sources: dict[str, str] = field(default_factory=dict)
    """Source of each tensor of the ensemble, or of the model's inputs."""
    optional: set[str] = field(default_factory=set)
    """Sources that may be absent."""
    shapes: dict[str, list[int]] = field(default_factory=dict)
    """Shapes of the tensors of an ensemble, as far as they are known."""
    missing: set[str] = field(default_factory=set)
    """Tensors of an ensemble that the model which writes them may leave out."""

    def __post_init__(self) -> None:
        self.message = self.model.config.message
        self.notes = Notes(self.model.config.manifest)
        self.others: list[Notes] = []

    def built(self) -> ImportedGraph:
        """Return the graph with its notes."""
        if self.model.name != self.model.folder.name:
            said = "Triton wants a model's folder to have its name: rename the folder to "
            self.notes.to_do(("name",), said + repr(self.model.name))
        self._add_inputs()
        extra: dict[str, Any] = {}
        if self.model.is_ensemble:
            self._add_steps()
            unknown = Taken.LEFT_OUT, "has no meaning for a graph over other models"
            note_fields(self.notes, self.message, ENSEMBLE, unknown, skip=(SCHEDULING,))
        else:
            extra = self._add_model()
        self._add_outputs()
        spec = {"inputs": self.inputs, "nodes": self.nodes, "outputs": self.outputs, **extra}
        kind = "ensemble" if self.model.is_ensemble else "model"
        notes = [note for one in (self.notes, *self.others) for note in one.found]
        return ImportedGraph(
            document(graph_name(self.model.name), spec),
            f"Triton {kind} {self.model.name}",
            files={COMPONENTS: component_file(self.components)} if self.components else {},
            notes=notes,
        )

    # --- inputs and outputs

    def _add_inputs(self) -> None:
        has_batch, several = batches(self.message), len(self.message.input) > 1
        for index, tensor in enumerate(self.message.input):
            name = self._own_name(tensor.name, ("input", index))
            declared = typed(tensor, self.message) or self._unknown_type(index)
            if has_batch and several:
                declared["shape"][0] = BATCH
            if tensor.optional:
                declared["optional"] = True
            self.inputs[name] = declared
            self.sources[tensor.name] = name
            if tensor.optional:
                self.optional.add(name)
        if not self.message.input:
            self._add_unknown_input()
        if self.model.is_ensemble:
            self._reshape_inputs()

    def _unknown_type(self, index: int) -> dict[str, Any]:
        said = "Triton completes the type when it loads the model: write the model's"
        self.notes.to_do(("input", index), said)
        return {"datatype": "FP32", "shape": [-1, -1]}

    def _add_unknown_input(self) -> None:
        self.inputs["input"] = {"datatype": "FP32", "shape": [-1, -1]}
        self.sources["input"] = "input"
        said = (
            "the configuration names no inputs, which Triton completes when it loads the model: "
            "write the model's inputs into `inputs` of the graph and of the node"
        )
        self.notes.to_do((), said)

    def _own_name(self, name: str, path: FieldPath) -> str:
        own = tensor_name(name)
        if own != name:
            said = f"is called {own!r} here: clients must send or expect that name"
            self.notes.to_do((*path, "name"), said)
        return own

    def _reshape_inputs(self) -> None:
        for tensor in self.message.input:
            if tensor.HasField("reshape"):
                sizes = list(tensor.reshape.shape)
                self.sources[tensor.name] = self._reshape(tensor, self.sources[tensor.name], sizes)

    def _reshape(self, tensor: Any, source: str, sizes: list[int]) -> str:
        """Add a node that gives a tensor of the model another shape; return its name."""
        args = {"shape": sizes, "keeps_rows": batches(self.message)}
        full = full_shape(sizes, self.message)
        return self._transformed("Reshape", tensor.name, source, tensor.data_type, full, args)

    def _transformed(
        self, cls: str, name: str, source: str, data_type: int, shape: list[int], args: Any = None
    ) -> str:
        """Add a node with one of the components of the graph; return its name."""
        node = node_name(f"{cls.lower()}_{parameter_name(name)}", self._taken())
        self.nodes[node] = {
            "type": "transformer",
            "component": f"{COMPONENTS}:{cls}",
            **({"args": args} if args else {}),
            "inputs": {"x": source},
            "outputs": {"output": {"datatype": datatype(data_type), "shape": shape}},
        }
        self.components.add(cls)
        if source in self.optional:
            self.optional.add(node)
        return node

    def _fitted(self, tensor: str, data_type: int, wanted: list[int]) -> str:
        """Return the source of a tensor with or without the batch dimension, as ``wanted``.

        Triton converts between models that batch and models that do not, where `dims` agree.
        """
        source, shape = self.sources[tensor], self.shapes.get(tensor)
        if shape is None or abs(len(shape) - len(wanted)) != 1:
            return source
        cls = "AddBatch" if len(wanted) > len(shape) else "DropBatch"
        return self._transformed(cls, tensor, source, data_type, wanted)

    def _add_outputs(self) -> None:
        for index, tensor in enumerate(self.message.output):
            source = self.sources[tensor.name]
            if self.model.is_ensemble and tensor.HasField("reshape"):
                source = self._reshape(tensor, source, list(tensor.dims))
            elif self.model.is_ensemble:
                wanted = full_shape(tensor.dims, self.message)
                source = self._fitted(tensor.name, tensor.data_type, wanted)
            self.outputs[self._own_name(tensor.name, ("output", index))] = source

    def _taken(self) -> set[str]:
        return {*self.inputs, *self.nodes, *RESERVED}

    # --- nodes

    def _add_steps(self) -> None:
        steps = list(enumerate(self.message.ensemble_scheduling.step))
        self.shapes |= {
            tensor.name: full_shape(inner_sizes(tensor), self.message)
            for tensor in self.message.input
        }
        for _, step in steps:
            self._learn(step)
        names: dict[int, str] = {}
        for index, step in steps:
            names[index] = node_name(step.model_name, {*self._taken(), *names.values()})
            for inner, tensor in step.output_map.items():
                named = len(step.output_map) > 1 or self._lacking(step)
                own = f"{names[index]}.{parameter_name(inner)}" if named else names[index]
                self.sources[tensor] = own
        for index, step in steps:
            self._add_step(names[index], index, step)
        path = (SCHEDULING,)
        self.notes.reworded(path, "a node for each step; its maps are `inputs` and sources")
        if self.message.ensemble_scheduling.max_inflight_requests:
            said = "the engine bounds the requests of a graph by what it measures"
            self.notes.left_out((*path, "max_inflight_requests"), said)

    def _learn(self, step: Any) -> None:
        """Keep the shapes that a step writes, and the tensors that it can do without."""
        target = self.repository.models.get(step.model_name)
        message = None if target is None else target.config.message
        for tensor in () if message is None else message.output:
            if tensor.name in step.output_map and tensor.dims:
                self.shapes[step.output_map[tensor.name]] = full_shape(tensor.dims, message)
        for tensor in () if message is None else message.input:
            if tensor.optional and tensor.name in step.input_map:
                self.missing.add(step.input_map[tensor.name])

    def _lacking(self, step: Any) -> list[str]:
        """Return the outputs that a step's model may omit: optional inputs read or explain them."""
        target = self.repository.models.get(step.model_name)
        if target is not None and any(one.optional for one in target.config.message.input):
            return sorted(step.output_map)
        return sorted(inner for inner, name in step.output_map.items() if name in self.missing)

    def _add_step(self, name: str, index: int, step: Any) -> None:
        path = (SCHEDULING, "step", index)
        target = self.repository.models.get(step.model_name)
        args: dict[str, Any] = {"url": URL, "model": step.model_name}
        if step.model_version > 0:
            args["version"] = str(step.model_version)
        args["outputs"] = sorted(step.output_map)
        node: dict[str, Any] = {
            "type": "predictor",
            "runtime": "open_inference",
            "args": args,
            "inputs": self._step_inputs(step, target),
        }
        lacking = self._lacking(step)
        if lacking:
            node["optional_outputs"] = [parameter_name(inner) for inner in lacking]
        if target is not None:
            node |= self._declared(target, sorted(step.output_map), named=bool(lacking))
            node |= self._quorum(target, step)
            self._note_target(target)
        else:
            self.notes.to_do((*path, "model_name"), self._unknown_model(step.model_name))
        if step.model_namespace:
            said = "name the server that has the model in `url`: a graph knows no namespaces there"
            self.notes.to_do((*path, "model_namespace"), said)
        self.nodes[name] = node
        self.notes.to_do(path, f"set `url` of node {name!r} to the address of your Triton")

    def _unknown_model(self, name: str) -> str:
        if name in self.repository.unconfigured:
            return f"{name!r} has no {CONFIG}, so its types are not known: declare its `outputs`"
        known = sorted({*self.repository.models, *self.repository.unconfigured})
        said = f"there is no model {name!r} here{hint(name, known)}: unless another repository of "
        return said + "your Triton has it, the graph cannot be loaded"

    def _step_inputs(self, step: Any, target: TritonModel | None) -> dict[str, str]:
        message = None if target is None else target.config.message
        known = {one.name: one for one in (() if message is None else message.input) if one.dims}
        found: dict[str, str] = {}
        for inner in sorted(step.input_map):
            tensor = step.input_map[inner]
            found[parameter_name(inner)] = (
                self._fitted(tensor, known[inner].data_type, full_shape(known[inner].dims, message))
                if inner in known
                else self.sources[tensor]
            )
        return found

    def _declared(
        self, target: TritonModel, names: list[str], named: bool = False
    ) -> dict[str, Any]:
        """Return the outputs of a step, where its model declares them all."""
        message = target.config.message
        types = {one.name: typed(one, message) for one in message.output}
        known = {name: one for name, one in types.items() if one is not None}
        if not set(names) <= known.keys():
            return {}
        if len(names) == 1 and not named:
            return {"outputs": {"output": known[names[0]]}}
        return {"outputs": {parameter_name(name): known[name] for name in names}}

    def _quorum(self, target: TritonModel, step: Any) -> dict[str, Any]:
        """Return how many inputs a step needs, where its model has optional inputs."""
        inputs = target.config.message.input
        mapped = [one for one in inputs if one.name in step.input_map]
        needed = [one for one in mapped if not one.optional]
        written = {one for step in self._steps for one in step.output_map.values()}
        sources = {step.input_map[one.name] for one in mapped if one.optional}
        optional = {one.name for one in self.message.input if one.optional}
        if sources & (written | optional):
            return {"quorum": max(1, len(needed))}
        return {"quorum": len(mapped)} if mapped and len(mapped) < len(inputs) else {}

    @property
    def _steps(self) -> Sequence[Any]:
        return list(self.message.ensemble_scheduling.step)

    def _note_target(self, target: TritonModel) -> None:
        if all(one.manifest is not target.config.manifest for one in self.others):
            notes = Notes(target.config.manifest)
            stays(notes, target.config.message)
            self.others.append(notes)

    def _add_model(self) -> dict[str, Any]:
        """Add the node of a model that is no ensemble; return further fields of the spec."""
        file = self.model.file()
        if file is not None:
            self._reshape_inputs()
        sources = {one.name: self.sources[one.name] for one in self.message.input}
        sources = sources or {"input": "input"}
        name = node_name(self.model.name, self._taken())
        outputs = list(self.message.output)
        named = len(outputs) > 1 or (file is None and any(o.optional for o in self.message.input))
        for tensor in outputs:
            own = f"{name}.{parameter_name(tensor.name)}" if named else name
            self.sources[tensor.name] = own
        if not outputs:
            self.outputs["output"] = name
            said = "the configuration names no outputs: write the model's into `outputs`"
            self.notes.to_do((), said)
        extra: Mapping[str, Any] = {}
        if file is not None:
            found = local_node(self.model, file, self.notes)
            node, extra = found.node, found.spec
        else:
            node = self._remote_node(name)
        node["inputs"] = {parameter_name(inner): source for inner, source in sources.items()}
        needed = [one for one in self.message.input if not one.optional]
        is_partial = len(needed) < len(self.message.input) and file is None
        if is_partial:
            node["quorum"] = max(1, len(needed))
        if outputs:
            names = [one.name for one in outputs]
            node |= self._declared(self.model, names, named=is_partial)
            if is_partial:
                node["optional_outputs"] = [parameter_name(one) for one in names]
        self.nodes[name] = node
        if file is not None:
            self._reshape_model_outputs(name)
        return dict(extra)

    def _reshape_model_outputs(self, name: str) -> None:
        """The model gives the shape of `reshape`, and clients get `dims`."""
        for tensor in self.message.output:
            if tensor.HasField("reshape"):
                key = "output" if len(self.message.output) == 1 else parameter_name(tensor.name)
                full = full_shape(tensor.reshape.shape, self.message)
                self.nodes[name]["outputs"][key]["shape"] = full
                source = self.sources[tensor.name]
                self.sources[tensor.name] = self._reshape(tensor, source, list(tensor.dims))

    def _remote_node(self, name: str) -> dict[str, Any]:
        stays(self.notes, self.message)
        self.notes.to_do((), f"set `url` of node {name!r} to the address of your Triton")
        served = self.model.served()
        if len(served) > 1:
            said = f"versions {listing(map(str, served))} are served; the graph asks for the newest"
            self.notes.reworded(("version_policy",), said)
        return {
            "type": "predictor",
            "runtime": "open_inference",
            "args": {"url": URL, "model": self.model.name},
        }
