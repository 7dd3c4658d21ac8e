"""From manifests of ``mlops.seldon.io`` to graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from anabranch.errors import Problem, SpecError
from anabranch.importers.fields import Fields, Source
from anabranch.importers.graph_names import folder_name, graph_name, node_name
from anabranch.importers.manifests import Manifest
from anabranch.importers.result import FieldNote, ImportedGraph, document
from anabranch.importers.seldon_v2.experiments import Candidates, read_experiment
from anabranch.importers.seldon_v2.explainers import add_explainer
from anabranch.importers.seldon_v2.graphs import Library, PipelineGraph
from anabranch.importers.seldon_v2.metadata import note_metadata
from anabranch.importers.seldon_v2.models import PlacedModel, read_model, remote_model
from anabranch.importers.seldon_v2.pipelines import Pipeline, read_pipeline
from anabranch.specs.rules import RESERVED

GROUP = "mlops.seldon.io"
KINDS = ("Model", "Pipeline", "Experiment", "Server", "ServerConfig", "SeldonRuntime",
         "SeldonConfig")  # fmt: skip
_SERVERS = "the engine's processes run models: nodes have `resources`, `scaling` and `placement`"


def import_seldon_v2(manifests: Sequence[Manifest]) -> list[ImportedGraph]:
    """Return the graphs of manifests; raise SpecError with every mistake in them."""
    return _Import(manifests).graphs()


class _Import:
    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self.sources = [Source.of(manifest) for manifest in manifests]
        self.models: dict[str, PlacedModel] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.experiments: list[Candidates] = []
        self.others: list[FieldNote] = []
        """Notes on manifests that make no graph."""
        self.library = Library(self.models, self.pipelines)

    def graphs(self) -> list[ImportedGraph]:
        """Return all graphs; raise SpecError with every mistake."""
        for source in self.sources:
            self._read(source)
        self._refuse_mistakes()
        taken = {name for one in self.experiments for name in one.names}
        found = [graph for one in self.experiments for graph in self._experiment(one)]
        for name, pipeline in self.pipelines.items():
            if ("pipeline", name) not in taken:
                found.append(self._pipeline(pipeline))
        for name, model in self.models.items():
            alone = name not in self._steps and ("model", name) not in taken
            if alone and model.explained is None:
                found.append(self._model(model))
        found = self._with_explainers(found)
        self._refuse_mistakes()
        if not found:
            kinds = " and ".join(sorted({source.manifest.kind for source in self.sources}))
            said = (
                f"holds no model, only {kinds}: where Seldon runs models, as the engine's "
                "processes do here; import the Models, Pipelines and Experiments that run there"
            )
            raise SpecError([self.sources[0].manifest.problem(("kind",), said)])
        first = replace(found[0], notes=[*found[0].notes, *self.others])
        return [first, *found[1:]]

    def _refuse_mistakes(self) -> None:
        problems: list[Problem] = [one for source in self.sources for one in source.problems]
        if problems:
            raise SpecError(list(dict.fromkeys(problems)))

    def _read(self, source: Source) -> None:
        root = source.fields()
        name = note_metadata(root, source.manifest.kind in ("Model", "Pipeline", "Experiment"))
        spec = root.within("spec")
        match source.manifest.kind:
            case "Model":
                self._add(self.models, name, read_model(source, spec), root)
            case "Pipeline":
                self._add(self.pipelines, name, read_pipeline(source, spec), root)
            case "Experiment":
                self.experiments.append(read_experiment(source, spec))
            case _:
                root.left_out(_SERVERS, "spec")
                self.others += source.notes.found
                return
        spec.finish()
        root.finish()

    def _add(self, found: dict[str, Any], name: str, value: Any, root: Fields) -> None:
        """Add an object; the manifest of a version that was applied before is a mistake."""
        if name in found:
            kind = root.source.manifest.kind
            said = f"{kind} {name!r} is there twice: import one version, and deploy the other later"
            root.mistake(said, "metadata", "name")
        found[name] = value

    # --- graphs

    def _pipeline(self, pipeline: Pipeline, name: str = "") -> ImportedGraph:
        made = PipelineGraph(pipeline, self.library)
        outputs = made.outputs()
        source = pipeline.source.manifest
        spec = {"inputs": made.inputs, "nodes": made.nodes, "outputs": outputs}
        if not outputs:
            pipeline.spec.mistake("gives no tensor", "output")
        elif not made.inputs:
            pipeline.spec.mistake("no step reads a tensor of the request", "steps")
        return _graph(name or source.name, source.namespace, spec, f"Pipeline {source.name}",
                      made.notes())  # fmt: skip

    def _model(self, model: PlacedModel, name: str = "") -> ImportedGraph:
        own = node_name(model.name, {model.input, *RESERVED})
        node = {**model.node, "inputs": {model.input: model.input}}
        spec = {
            "inputs": {model.input: dict(model.tensor)},
            "nodes": {own: node},
            "outputs": {name: f"{own}.{name}" for name in model.outputs} or {model.output: own},
        }
        notes: list[FieldNote] = []
        namespace = ""
        if model.source is not None:
            if not model.is_typed:
                Fields(model.source, {}, ("spec",)).to_do(
                    "the manifest names no tensors: write the model's into `inputs` and `outputs`"
                )
            namespace = model.source.manifest.namespace
            notes = model.source.notes.found
        return _graph(name or model.name, namespace, spec, f"Model {model.name}", notes)

    def _experiment(self, experiment: Candidates) -> list[ImportedGraph]:
        """Return a revision for each candidate, and for the mirror."""
        graphs: list[ImportedGraph] = []
        folders: list[str] = [""]
        for share in experiment.ordered[1:]:
            folders.append(folder_name(share.name, folders))
        own = experiment.graph
        commands = experiment.steps(graph_name(own, experiment.namespace), folders)
        for share, folder, steps in zip(experiment.ordered, folders, commands, strict=True):
            graph = self._candidate(experiment, share.name, own)
            source = f"Experiment {experiment.name}, {share.name}"
            notes = list(graph.notes)
            if not folder:
                notes = [*experiment.source.notes.found, *notes]
            graphs.append(replace(graph, folder=folder, steps=steps, source=source, notes=notes))
        return graphs

    def _candidate(self, experiment: Candidates, name: str, graph: str) -> ImportedGraph:
        if experiment.kind == "pipeline":
            pipeline = self.pipelines.get(name)
            if pipeline is not None:
                return self._pipeline(pipeline, graph)
            return self._model(remote_model(name, "pipeline"), graph)
        return self._model(self.library.model(name), graph)

    def _with_explainers(self, graphs: list[ImportedGraph]) -> list[ImportedGraph]:
        for model in self.models.values():
            if model.explained is not None and model.name not in self._steps:
                added = add_explainer(graphs, model)
                graphs = [*graphs, self._model(model)] if added is None else added
        return graphs

    @property
    def _steps(self) -> set[str]:
        return {step for one in self.pipelines.values() for step in one.steps}


def _graph(
    name: str, namespace: str, spec: dict[str, Any], source: str, notes: Sequence[FieldNote]
) -> ImportedGraph:
    return ImportedGraph(
        document(graph_name(name, namespace), spec),
        source,
        notes=notes,
        steps=["anabranch deploy graph.yaml"],
    )
