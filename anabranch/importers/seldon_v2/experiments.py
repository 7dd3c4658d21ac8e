"""Reads ``Experiment``: weights of candidates, the default and the mirror, as revisions.

Source: ``operator/apis/mlops/v1alpha1/experiment_types.go`` and
``scheduler/pkg/store/experiment/validate.go`` of SeldonIO/seldon-core v2.6.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anabranch.importers.fields import Fields, Source
from anabranch.importers.revisions import RevisionShare, deploy_commands
from anabranch.importers.seldon_v2.metadata import read_name
from anabranch.specs.excerpts import hint, shown

_KINDS = ("model", "pipeline")


@dataclass(frozen=True)
class Candidate:
    """A model or pipeline, and its weight or its share of copies in percent."""

    name: str
    weight: int
    is_mirror: bool = False


@dataclass(frozen=True)
class Candidates:
    """An experiment. Its graph has the name of the default, whose requests it takes."""

    name: str
    source: Source
    kind: str
    graph: str
    ordered: tuple[Candidate, ...]
    """The default or heaviest candidate first, the mirror last."""

    @property
    def namespace(self) -> str:
        """Namespace of the manifest."""
        return self.source.manifest.namespace

    @property
    def names(self) -> set[tuple[str, str]]:
        """Kinds and names of all that take part."""
        return {(self.kind, one.name) for one in self.ordered}

    def steps(self, graph: str, folders: Sequence[str]) -> list[list[str]]:
        """Return the commands for each candidate, whose graph is in the folder of its place."""
        percents = _shares([one.weight for one in self.ordered if not one.is_mirror])
        shares = [
            RevisionShare(folder, one.weight if one.is_mirror else percents[number], one.is_mirror)
            for number, (one, folder) in enumerate(zip(self.ordered, folders, strict=True))
        ]
        return deploy_commands(graph, shares)


def _shares(weights: Sequence[int]) -> list[float]:
    """Return weights in percent, which sum to 100."""
    total = sum(weights)
    shares = [round(100 * weight / total, 3) for weight in weights]
    shares[0] = round(100 - sum(shares[1:]), 3)
    return shares


def read_experiment(source: Source, spec: Fields) -> Candidates:
    """Return the experiment of a manifest; mistakes are kept in ``source``."""
    kind = spec.choice("resourceType", _KINDS) or "model"
    if spec.has("resourceType"):
        spec.reworded(f"revisions of a graph for each {kind}", "resourceType")
    default = spec.text("default")
    found: list[Candidate] = []
    for fields in spec.each("candidates"):
        name = read_name(fields)
        weight = fields.whole("weight")
        if weight is None:
            fields.mistake("is required", "weight")
        elif weight < 0:
            fields.mistake("must be at least 0", "weight")
        _refuse_twice(fields, name, found)
        fields.same("a revision", "name")
        fields.reworded("its share of all weights, in percent", "weight")
        fields.finish()
        found.append(Candidate(name, max(weight or 0, 0)))
    mirror = _mirror(spec, found)
    names = [one.name for one in found]
    if not found and mirror is None:
        spec.mistake("needs at least one candidate, or a mirror", "candidates")
    elif not found:
        spec.mistake("needs a candidate, whose requests the mirror gets", "candidates")
    elif not sum(one.weight for one in found):
        spec.mistake("the weights sum to 0", "candidates")
    if default and default not in names:
        said = f"{shown(default)} is no candidate{hint(default, names)}"
        spec.mistake(said, "default")
    elif default:
        spec.reworded("the stable revision; the graph has its name", "default")
    elif found:
        said = f"has no `default`: clients asked `{source.manifest.name}.experiment`, the graph is "
        spec.reworded(f"{said}called {source.manifest.name}")
    first = sorted(found, key=lambda one: (one.name != default, -one.weight))
    ordered = (*first, *([mirror] if mirror is not None else []))
    own = default or source.manifest.name
    return Candidates(source.manifest.name, source, kind, own, ordered)


def _mirror(spec: Fields, found: list[Candidate]) -> Candidate | None:
    fields = spec.within("mirror")
    if not spec.has("mirror"):
        return None
    name, percent = read_name(fields), fields.whole("percent")
    if percent is None or not 0 <= percent <= 100:
        fields.mistake("must be from 0 to 100", "percent")
    _refuse_twice(fields, name, found)
    fields.same("a mirror", "name")
    fields.same("share of the requests that are copied", "percent")
    fields.finish()
    return Candidate(name, min(max(percent or 0, 0), 100), is_mirror=True)


def _refuse_twice(fields: Fields, name: str, found: Sequence[Candidate]) -> None:
    if name in [one.name for one in found]:
        fields.mistake(f"{shown(name)} takes part already", "name")
