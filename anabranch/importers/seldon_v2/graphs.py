"""From a pipeline to a graph: messages between steps become tensors between nodes.

Source: ``scheduler/data-flow`` (``Joiner.kt``, ``Chainer.kt``, ``TriggerTransforms.kt``) of
SeldonIO/seldon-core v2.6.0: a step gets one message with all tensors of its sources, renamed by
``tensorMap``; a message without any of the tensors that a reference names is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anabranch.importers.graph_names import node_name
from anabranch.importers.result import FieldNote
from anabranch.importers.seldon_v2.models import MATRIX, PlacedModel, remote_model
from anabranch.importers.seldon_v2.pipelines import INNER, Pipeline, PipelineStep, Sources
from anabranch.importers.seldon_v2.references import INPUTS, OUTPUTS, TensorReference
from anabranch.importers.tensor_names import parameter_name, tensor_name
from anabranch.specs.excerpts import listing
from anabranch.specs.rules import RESERVED

Message = dict[str | None, list[str]]
"""Sources by the name of the tensor; None for the only tensor of a model that nobody names."""


@dataclass
class Library:
    """All models and pipelines of an import, by name."""

    models: Mapping[str, PlacedModel]
    pipelines: Mapping[str, Pipeline]
    remote: dict[str, PlacedModel] = field(default_factory=dict)

    def model(self, name: str) -> PlacedModel:
        """Return a model; one that is not among the manifests stays where it is."""
        found = self.models.get(name)
        if found is None:
            found = self.remote.setdefault(name, remote_model(name))
        return found

    def names_of(self, owner: str, side: str, step: str | None = None) -> list[str]:
        """Return the tensors that references of any pipeline name, in order.

        ``owner`` is a pipeline; with ``step``, one of its steps.
        """
        found: dict[str, None] = {}
        for pipeline in self.pipelines.values():
            for sources in _all_sources(pipeline):
                is_outer = sources in (pipeline.external, pipeline.external_triggers)
                own = owner if is_outer or step is None else step
                inner = step if is_outer else None
                if not is_outer and pipeline.name != owner:
                    continue
                key = TensorReference(own, side, step=inner).key
                for reference in sources.references:
                    if reference.key == key and reference.tensor is not None:
                        found[reference.tensor] = None
                for name in sources.renames:
                    if name.rpartition(".")[0] == key:
                        found[name.rpartition(".")[2]] = None
        return list(found)


def _all_sources(pipeline: Pipeline) -> Iterator[Sources]:
    for step in pipeline.steps.values():
        yield step.reads
        yield step.triggers
    yield from (
        one
        for one in (pipeline.output, pipeline.external, pipeline.external_triggers)
        if one is not None
    )


class PipelineGraph:
    """The graph of one pipeline, while it is made."""

    def __init__(self, pipeline: Pipeline, library: Library) -> None:
        self.pipeline = pipeline
        self.library = library
        self.inputs: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.used: dict[str, PlacedModel] = {}
        """Models by node."""
        self._names: dict[tuple[str, str], str] = {}
        """Node of each step, by pipeline and step."""
        self._under_way: list[str] = [pipeline.name]
        self._spec = pipeline.spec

    def outputs(self) -> dict[str, str]:
        """Build the nodes that the pipeline's output needs; return the outputs of the graph."""
        sources = self.pipeline.output
        if sources is None or not sources.references:
            sources = self._last_steps()
        found = self._outputs(self.pipeline, sources)
        self._note_unused()
        return found

    def notes(self) -> list[FieldNote]:
        """Return the notes of the pipeline, and of the manifests of its models."""
        sources = [self.pipeline.source]
        sources += [one.source for one in self.used.values() if one.source is not None]
        unique = {id(source): source for source in sources}
        return [note for source in unique.values() for note in source.notes.found]

    def _last_steps(self) -> Sources:
        """Return the steps that no step reads, for a pipeline that answers nobody."""
        read = {
            reference.owner
            for step in self.pipeline.steps.values()
            for reference in (*step.reads.references, *step.triggers.references)
        }
        last = [name for name in self.pipeline.steps if name not in read]
        said = "has no `output`: Seldon answers nobody, the graph answers with "
        self._spec.to_do(f"{said}{listing(last)}; leave out the outputs that nobody needs")
        return Sources(tuple(TensorReference(name, OUTPUTS) for name in last))

    def _note_unused(self) -> None:
        for step in self.pipeline.steps.values():
            if (self.pipeline.name, step.name) not in self._names:
                said = "no output needs the step, so that a request would not run it: Seldon runs "
                said += "it beside; write a monitor, or make it an output"
                step.fields.left_out(said)

    # --- messages

    def _outputs(self, pipeline: Pipeline, sources: Sources) -> dict[str, str]:
        """Return what a pipeline gives, by name; tensors of one name are told apart by step."""
        if sources.join != INNER:
            message = self._message(pipeline, sources)
            default = self._default_output(pipeline, sources)
            return {
                tensor_name(name or default): self._first(name or default, found)
                for name, found in message.items()
            }
        outputs: dict[str, str] = {}
        for reference in sources.references:
            for name, source in self._tensors(pipeline, reference, sources.renames):
                own = tensor_name(name or self.library.model(reference.owner).output)
                if outputs.get(own, source) != source:
                    told = tensor_name(f"{reference.owner}_{own}")
                    said = f"{own!r} comes from two steps, and Seldon gives two tensors of that "
                    pipeline.spec.to_do(f"{said}name: the second is called {told!r} here", "output")
                    own = told
                outputs[own] = source
        return outputs

    def _default_output(self, pipeline: Pipeline, sources: Sources) -> str:
        return self.library.model(sources.references[0].owner).output

    def _message(self, pipeline: Pipeline, sources: Sources) -> Message:
        """Return the tensors of a joined message."""
        found: Message = {}
        for reference in sources.references:
            for name, source in self._tensors(pipeline, reference, sources.renames):
                there = found.setdefault(name, [])
                if source not in there:
                    there.append(source)
        return found

    def _tensors(
        self, pipeline: Pipeline, reference: TensorReference, renames: Mapping[str, str]
    ) -> Iterator[tuple[str | None, str]]:
        """Yield name and source of each tensor that a reference means."""
        for name, source in self._named(pipeline, reference):
            yield renames.get(f"{reference.key}.{name}", name), source

    def _named(
        self, pipeline: Pipeline, reference: TensorReference
    ) -> Iterator[tuple[str | None, str]]:
        if reference.owner != pipeline.name and reference.owner not in pipeline.steps:
            yield from self._of_other(reference)
        elif reference.owner == pipeline.name:
            yield from self._of_pipeline(pipeline, reference)
        else:
            step = pipeline.steps[reference.owner]
            yield from self._of_step(pipeline, step, reference)

    def _of_step(
        self, pipeline: Pipeline, step: PipelineStep, reference: TensorReference
    ) -> Iterator[tuple[str | None, str]]:
        node = self._node(pipeline, step)
        if reference.side == INPUTS:
            for name, source in self.nodes[node]["inputs"].items():
                if reference.tensor in (None, name):
                    yield name, source
            return
        known = self._known_outputs(pipeline, step)
        names: list[str] | list[None] = [reference.tensor] if reference.tensor else known or [None]
        if reference.tensor is None and not known:
            said = f"the tensors of {step.name!r} are not named: one is assumed"
            self._spec.to_do(f"{said}, which {self.library.model(step.name).output!r} may be")
        is_bare = len(known) <= 1 and "optional_outputs" not in self.nodes[node]
        for name in names:
            yield name, node if is_bare or name is None else f"{node}.{parameter_name(name)}"

    def _known_outputs(self, pipeline: Pipeline, step: PipelineStep) -> list[str]:
        """Return the tensors of a step that references name, of it or of what it is the output."""
        named = self.library.names_of(pipeline.name, OUTPUTS, step.name)
        own = self.library.model(step.name).outputs
        if own:
            return list(own)
        whole = TensorReference(step.name, OUTPUTS)
        output = pipeline.output
        if output is None or whole not in output.references or len(output.references) > 1:
            return named
        before = {new: key.rpartition(".")[2] for key, new in output.renames.items()}
        given = self.library.names_of(pipeline.name, OUTPUTS)
        return list(dict.fromkeys([*named, *(before.get(name, name) for name in given)]))

    def _of_pipeline(
        self, pipeline: Pipeline, reference: TensorReference
    ) -> Iterator[tuple[str | None, str]]:
        """Yield what goes into a pipeline: of another pipeline, or of the request."""
        if pipeline.external is not None and self._comes_from_others(pipeline):
            message = self._message(pipeline, pipeline.external)
            for name, sources in message.items():
                if reference.tensor is None or name in (None, reference.tensor):
                    yield name, self._joined(pipeline.external, name or "input", sources)
            return
        known = self._input_names(pipeline)
        names: list[str] | list[None] = [reference.tensor] if reference.tensor else known or [None]
        for name in names:
            yield name, self._graph_input(pipeline, name)

    def _input_names(self, pipeline: Pipeline) -> list[str]:
        renamed = list(pipeline.external.renames.values()) if pipeline.external else []
        named = self.library.names_of(pipeline.name, INPUTS)
        named += [
            name
            for step in pipeline.steps.values()
            if not step.reads.references
            for name in self.library.names_of(pipeline.name, INPUTS, step.name)
        ]
        return list(dict.fromkeys([*named, *renamed]))

    def _comes_from_others(self, pipeline: Pipeline) -> bool:
        """Return whether all pipelines that feed a pipeline are known, and do not need it."""
        assert pipeline.external is not None
        owners = [reference.owner for reference in pipeline.external.references]
        missing = [name for name in owners if name not in self.library.pipelines]
        if missing:
            said = f"pipeline {missing[0]!r} is not among the manifests: requests carry its tensors"
            pipeline.spec.to_do(said, "input")
        return not missing

    def _of_other(self, reference: TensorReference) -> Iterator[tuple[str | None, str]]:
        """Yield tensors of another pipeline, whose steps become nodes of this graph."""
        other = self.library.pipelines[reference.owner]
        if other.name in self._under_way:
            cycle = " → ".join([*self._under_way, other.name])
            other.spec.mistake(f"the pipelines form a cycle: {cycle}", "input")
            return
        self._under_way.append(other.name)
        if reference.step is not None:
            step = other.steps.get(reference.step)
            inner = TensorReference(reference.step, reference.side, reference.tensor)
            if step is not None:
                yield from self._of_step(other, step, inner)
        elif reference.side == INPUTS:
            yield from self._of_pipeline(other, reference)
        else:
            for name, source in self._outputs(other, other.output or Sources(())).items():
                if reference.tensor in (None, name):
                    yield name, source
        self._under_way.pop()

    # --- nodes

    def _graph_input(self, pipeline: Pipeline, name: str | None) -> str:
        reader = self._first_reader(pipeline)
        model = self.library.model(reader.name) if reader is not None else None
        own = tensor_name(name or (model.input if model is not None else "input"))
        if own not in self.inputs:
            declared: dict[str, Any] = dict(MATRIX if model is None else model.tensor)
            if model is None or not model.is_typed:
                said = f"the type of input {own!r} is not known: FP32[-1, -1] is written, change it"
                pipeline.spec.to_do(f"{said} to what the model takes")
            if name is not None and self._is_optional(pipeline, name):
                declared["optional"] = True
            self.inputs[own] = declared
        return own

    def _first_reader(self, pipeline: Pipeline) -> PipelineStep | None:
        """Return the first step that reads what goes into a pipeline."""
        for step in pipeline.steps.values():
            owners = [reference.owner for reference in step.reads.references]
            if not owners or pipeline.name in owners:
                return step
        return None

    def _is_optional(self, pipeline: Pipeline, tensor: str) -> bool:
        """Return whether requests may lack a tensor, and still get an answer.

        They may not where every step that reads the request reads the tensor.
        """
        read = [
            {one.tensor for one in step.reads.references if one.owner == pipeline.name}
            for step in pipeline.steps.values()
        ]
        if all(tensor in names for names in read if names):
            return False
        return any(
            reference.owner == pipeline.name and reference.tensor == tensor
            for sources in self._lenient(pipeline)
            for reference in sources.references
        )

    def _lenient(self, pipeline: Pipeline) -> list[Sources]:
        """Return the references whose message may be dropped while the request goes on.

        Those are triggers, which gate, and what leads to a join that goes on without some of its
        sources; anything else that is missing leaves the request without an answer.
        """
        lenient: set[str] = set()
        found: list[Sources] = []
        if pipeline.output is not None and pipeline.output.join != INNER:
            found.append(pipeline.output)
            lenient |= {reference.owner for reference in pipeline.output.references}
        waiting = True
        while waiting:
            waiting = False
            for step in pipeline.steps.values():
                kinds = [step.triggers] if step.triggers.references else []
                if step.name in lenient or step.reads.join != INNER:
                    kinds.append(step.reads)
                for sources in kinds:
                    if sources not in found:
                        found.append(sources)
                        lenient |= {reference.owner for reference in sources.references}
                        waiting = True
        return found

    def _node(self, pipeline: Pipeline, step: PipelineStep) -> str:
        """Build the node of a step, unless it is there; return its name."""
        key = pipeline.name, step.name
        if key in self._names:
            return self._names[key]
        taken = {*self.nodes, *self._input_names(pipeline), *self.inputs, *RESERVED}
        taken |= set(self._names.values())
        name = self._names[key] = node_name(step.name, taken)
        model = self.library.model(step.name)
        self.used[name] = model
        node = {**model.node, "args": dict(model.node.get("args", {}))}
        self.nodes[name] = node
        if model.is_remote:
            self._name_outputs(pipeline, step, node)
            if model.source is None:
                said = f"there is no Model {step.name!r} here: set `url` of the node to the "
                step.fields.to_do(said + "address of your Seldon mesh or server")
        node["inputs"] = self._inputs(pipeline, step, model, node)
        triggers = self._triggers(pipeline, step)
        if triggers:
            node["triggers"] = triggers
        if not node["args"]:
            del node["args"]
        return name

    def _name_outputs(self, pipeline: Pipeline, step: PipelineStep, node: dict[str, Any]) -> None:
        known = self._known_outputs(pipeline, step)
        if known:
            node["args"]["outputs"] = known
        is_optional = any(
            reference.owner == step.name and reference.side == OUTPUTS and reference.tensor
            for sources in self._lenient(pipeline)
            for reference in sources.references
        )
        if is_optional:
            node["optional_outputs"] = [parameter_name(one) for one in known]

    def _inputs(
        self, pipeline: Pipeline, step: PipelineStep, model: PlacedModel, node: dict[str, Any]
    ) -> dict[str, str]:
        reads = step.reads
        if not reads.references:
            whole = TensorReference(pipeline.name, INPUTS)
            reads = Sources((whole,), reads.join, reads.renames, reads.path)
        message = self._message(pipeline, reads)
        if reads.join == INNER:
            for name, sources in message.items():
                if len(sources) > 1:
                    said = f"{len(sources)} tensors called {name!r} reach the step in one message: "
                    step.fields.left_out(f"{said}the node gets the first", "inputs")
        found = {
            parameter_name(name or model.input): self._joined(reads, name or model.input, sources)
            for name, sources in message.items()
        }
        if not found:
            step.fields.mistake("gets no tensor from what it reads", "inputs")
        if reads.join != INNER and model.is_remote:
            node["quorum"] = 1
        elif reads.join != INNER and len(found) > 1:
            said = "the model takes one tensor: the first that is there"
            step.fields.reworded(said, "inputsJoinType")
            found = {model.input: self._first(model.input, list(found.values()))}
        return found

    def _joined(self, joined: Sources, name: str, sources: list[str]) -> str:
        return sources[0] if joined.join == INNER else self._first(name, sources)

    def _first(self, name: str, sources: list[str]) -> str:
        """Return the first of several sources that is there, as a node."""
        unique = list(dict.fromkeys(sources))
        if len(unique) == 1:
            return unique[0]
        for other, node in self.nodes.items():
            if node.get("strategy") == "first" and node["inputs"] == unique:
                return other
        own = node_name(f"first_{parameter_name(name)}", {*self.nodes, *self.inputs, *RESERVED})
        self.nodes[own] = {
            "type": "combiner",
            "strategy": "first",
            "inputs": unique,
            "quorum": 1,
        }
        return own

    def _triggers(self, pipeline: Pipeline, step: PipelineStep) -> dict[str, Any]:
        own = list(dict.fromkeys(self._trigger_sources(pipeline, step.triggers)))
        is_lenient = step.triggers.join != INNER
        outer = self._outer_triggers(pipeline, step)
        if outer and own and (is_lenient or outer[1]):
            said = "the node waits for its own triggers alone: it has one list of triggers"
            pipeline.spec.left_out(said, "input", "externalTriggers")
        elif outer:
            own, is_lenient = [*own, *outer[0]], outer[1]
        if not own:
            return {}
        return {"sources": own, "quorum": 1} if is_lenient else {"sources": own}

    def _outer_triggers(
        self, pipeline: Pipeline, step: PipelineStep
    ) -> tuple[list[str], bool] | None:
        """Return the triggers of what goes into a pipeline, for a step that reads that."""
        triggers, external = pipeline.external_triggers, pipeline.external
        owners = {reference.owner for reference in step.reads.references} or {pipeline.name}
        if triggers is None or not triggers.references or pipeline.name not in owners:
            return None
        known = {reference.owner for reference in triggers.references} <= {*self.library.pipelines}
        if external is None or not known or not self._comes_from_others(pipeline):
            said = "triggers of pipelines that are not among the manifests cannot gate a request"
            pipeline.spec.left_out(said, "input", "externalTriggers")
            return None
        found = list(dict.fromkeys(self._trigger_sources(pipeline, triggers)))
        return found, triggers.join != INNER

    def _trigger_sources(self, pipeline: Pipeline, triggers: Sources) -> Iterable[str]:
        for reference in triggers.references:
            is_step = reference.owner in pipeline.steps and reference.side == OUTPUTS
            if is_step and reference.tensor is None:
                yield self._node(pipeline, pipeline.steps[reference.owner])
            else:
                yield from (source for _, source in self._named(pipeline, reference))
