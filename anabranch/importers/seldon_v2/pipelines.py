"""Reads ``Pipeline``: its steps, references and joins, with the mistakes of Seldon's scheduler.

Source: ``operator/apis/mlops/v1alpha1/pipeline_types.go`` and
``scheduler/pkg/store/pipeline/validate.go`` of SeldonIO/seldon-core v2.6.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import networkx as nx

from anabranch.errors import FieldPath
from anabranch.importers.fields import Fields, Source
from anabranch.importers.seldon_v2.metadata import read_name
from anabranch.importers.seldon_v2.references import (
    SIDES,
    BadReference,
    TensorReference,
    inner_reference,
    outer_reference,
)
from anabranch.specs.excerpts import hint, shown

INNER, OUTER, ANY = "inner", "outer", "any"
JOINS = (INNER, OUTER, ANY)
_WINDOW = "a graph waits for all nodes that it needs, within its `timeout`"
_JOIN_TEXTS = {
    INNER: "all of them must be there",
    OUTER: "goes on with those that are there, `quorum: 1`",
    ANY: "the first that is there, in the order of the list; Seldon takes the first to arrive",
}


@dataclass(frozen=True)
class Sources:
    """References that are joined, and the names that their tensors get."""

    references: tuple[TensorReference, ...]
    join: str = INNER
    renames: Mapping[str, str] = field(default_factory=dict)
    path: FieldPath = ()


@dataclass(frozen=True)
class PipelineStep:
    """A step: a model, what it reads, and what gates it."""

    name: str
    fields: Fields
    reads: Sources
    triggers: Sources


@dataclass(frozen=True)
class Pipeline:
    """A pipeline with its steps by name, in order."""

    name: str
    source: Source
    steps: Mapping[str, PipelineStep]
    output: Sources | None
    external: Sources | None
    external_triggers: Sources | None

    @property
    def spec(self) -> Fields:
        """The fields of ``spec``, for notes."""
        return Fields(self.source, self.source.manifest.data.get("spec") or {}, ("spec",))


def read_pipeline(source: Source, spec: Fields) -> Pipeline:
    """Return the pipeline of a manifest; mistakes are kept in ``source``."""
    name = source.manifest.name
    steps: dict[str, PipelineStep] = {}
    for fields in spec.each("steps"):
        step = _read_step(fields, name)
        if step.name in steps:
            fields.mistake(f"step {shown(step.name)} is there twice", "name")
        if step.name == name:
            fields.mistake("has the name of the pipeline, which references then mean", "name")
        steps[step.name] = step
    if not steps:
        spec.mistake("needs at least one step", "steps")
    output = _read_output(spec, name) if spec.has("output") else None
    external, triggers = _read_input(spec) if spec.has("input") else (None, None)
    _note_cycles(spec)
    spec.leave_out({"dataflow": "there are no Kafka topics to clean up"})
    pipeline = Pipeline(name, source, steps, output, external, triggers)
    _check_references(spec, pipeline)
    return pipeline


def _note_cycles(spec: Fields) -> None:
    spec.asked |= {"allowCycles", "maxStepRevisits"}
    for key in ("allowCycles", "maxStepRevisits"):
        if spec.has(key):
            said = "a request runs each node once at most: write a loop as a component"
            spec.left_out(said, key)


def _read_step(fields: Fields, pipeline: str) -> PipelineStep:
    name = read_name(fields)
    fields.same("a node", "name")
    reads = _sources(fields, "inputs", "inputsJoinType", _inner(pipeline))
    triggers = _sources(fields, "triggers", "triggersJoinType", _inner(pipeline), renames=False)
    if fields.has("triggers"):
        fields.reworded("`triggers` of the node, which does not read them", "triggers")
    _note_window(fields)
    batch = fields.within("batch")
    if fields.has("batch"):
        for key in ("size", "windowMs"):
            batch.whole(key)
        batch.flag("rolling")
        said = "each request is answered by itself: Seldon sends the model nothing until so many "
        said += "rows have come, and answers the last of the requests alone"
        fields.left_out(said, "batch")
        batch.finish()
    fields.finish()
    return PipelineStep(name, fields, reads, triggers)


def _read_output(spec: Fields, pipeline: str) -> Sources:
    output = spec.within("output")
    found = _sources(output, "steps", "stepsJoin", _inner(pipeline))
    _note_window(output)
    output.finish()
    return found


def _read_input(spec: Fields) -> tuple[Sources, Sources]:
    external = spec.within("input")
    found = _sources(external, "externalInputs", "joinType", outer_reference)
    triggers = _sources(
        external, "externalTriggers", "triggersJoinType", outer_reference, renames=False
    )
    if not external.has("externalInputs"):
        external.mistake("needs at least one input", "externalInputs")
    _note_window(external)
    external.finish()
    return found, triggers


def _note_window(fields: Fields) -> None:
    if fields.whole("joinWindowMs") is not None:
        fields.reworded(_WINDOW, "joinWindowMs")


Reader = Callable[[str], TensorReference]


def _inner(pipeline: str) -> Reader:
    return lambda text: inner_reference(text, pipeline)


def _sources(
    fields: Fields, key: str, join_key: str, read: Reader, renames: bool = True
) -> Sources:
    """Return the references in a list, with their join and the names of ``tensorMap``."""
    found: list[TensorReference] = []
    for index, text in enumerate(fields.items(key)):
        if not isinstance(text, str):
            fields.mistake("must be a reference such as step.outputs.tensor", key, index)
            continue
        try:
            found.append(read(text))
            fields.reworded("a source", key, index)
        except BadReference as error:
            fields.mistake(f"{shown(text)} {error}", key, index)
    join = fields.choice(join_key, JOINS) or INNER
    if fields.has(join_key):
        fields.reworded(_JOIN_TEXTS[join], join_key)
    names = fields.texts("tensorMap") if renames else {}
    for name in names:
        _check_rename(fields, name, found)
    return Sources(tuple(found), join, names, fields.at(key))


def _check_rename(fields: Fields, key: str, references: list[TensorReference]) -> None:
    """Note an entry of ``tensorMap``; one that renames no tensor has no effect in Seldon."""
    owner, _, tensor = key.rpartition(".")
    if owner.rpartition(".")[2] not in SIDES or not tensor:
        said = f"{shown(key)} is not of the form <step or pipeline>.(inputs|outputs).<tensor>"
        fields.mistake(said, "tensorMap", key)
    else:
        fields.reworded("the name of the parameter", "tensorMap", key)


def _check_references(spec: Fields, pipeline: Pipeline) -> None:
    """Keep references to steps that are not there, and cycles.

    Seldon does not look at triggers, which then never come.
    """
    known = {*pipeline.steps, pipeline.name}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for step in pipeline.steps.values():
        for sources, key in ((step.reads, "inputs"), (step.triggers, "triggers")):
            for index, reference in enumerate(sources.references):
                if reference.owner not in known:
                    said = f"there is no step {shown(reference.owner)}"
                    said += hint(reference.owner, sorted(known - {step.name}))
                    step.fields.mistake(said, key, index)
                elif reference.owner != pipeline.name:
                    graph.add_edge(reference.owner, step.name)
    for index, reference in enumerate(pipeline.output.references if pipeline.output else ()):
        if reference.owner not in pipeline.steps:
            said = f"there is no step {shown(reference.owner)}"
            said += hint(reference.owner, sorted(pipeline.steps))
            spec.mistake(said, "output", "steps", index)
    for group in nx.strongly_connected_components(graph):
        first = min(group, key=list(pipeline.steps).index)
        if len(group) > 1 or graph.has_edge(first, first):
            inside = graph.subgraph(group)
            cycle = (
                [first] if len(group) == 1 else [edge[0] for edge in nx.find_cycle(inside, first)]
            )
            said = (
                "the steps form a cycle, which no graph may have: "
                f"{' → '.join([*cycle, cycle[0]])}; write the loop as one component"
            )
            pipeline.steps[first].fields.mistake(said)
