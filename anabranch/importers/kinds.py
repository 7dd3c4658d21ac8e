"""The kinds of manifests that can be imported, and the importer of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from anabranch.errors import Problem, SpecError
from anabranch.importers.kserve import importing as kserve
from anabranch.importers.manifests import Manifest
from anabranch.importers.result import FieldNote, ImportedGraph, Notes
from anabranch.importers.seldon_v1 import deployments
from anabranch.importers.seldon_v2 import importing as seldon_v2
from anabranch.specs.excerpts import clean, hint, shown

Importer: TypeAlias = Callable[[Sequence[Manifest]], list[ImportedGraph]]
"""Makes graphs of all manifests of its kinds together, for they may refer to each other.

Raises SpecError with every mistake in the manifests, each with its position.
"""

IMPORTERS: dict[tuple[str, str], Importer] = {
    (deployments.GROUP, deployments.KIND): deployments.import_deployments,
    **{(kserve.GROUP, kind): kserve.import_kserve for kind in kserve.KINDS},
    (kserve.OLD_GROUP, kserve.SERVICE): kserve.import_kserve,
    **{(seldon_v2.GROUP, kind): seldon_v2.import_seldon_v2 for kind in seldon_v2.KINDS},
}
"""Importers by API group and kind, such as ``("serving.kserve.io", "InferenceGraph")``."""

NO_GRAPHS: dict[tuple[str, str], str] = {
    (kserve.GROUP, kind): reason for kind, reason in kserve.NO_GRAPHS.items()
}
"""Kinds of these systems that are no graphs, by API group and kind, and the reason of each."""


def importable() -> list[str]:
    """Return the kinds that can be imported, each as ``group/kind``, sorted."""
    return sorted(f"{group}/{kind}" for group, kind in IMPORTERS)


def import_manifests(manifests: Sequence[Manifest]) -> list[ImportedGraph]:
    """Return the graphs of manifests. Raise SpecError for mistakes, and for kinds of no importer.

    Manifests of other kinds beside at least one that can be imported are notes of the first graph.
    """
    chosen: dict[Importer, list[Manifest]] = {}
    others: list[Manifest] = []
    for manifest in manifests:
        importer = IMPORTERS.get((manifest.group, manifest.kind))
        if importer is not None:
            chosen.setdefault(importer, []).append(manifest)
        else:
            others.append(manifest)
    if not chosen:
        raise SpecError([_unknown(manifest) for manifest in others])
    problems: list[Problem] = []
    found: list[ImportedGraph] = []
    for importer, group in chosen.items():
        try:
            found += importer(group)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    if not found:
        return found
    first = replace(found[0], notes=[*found[0].notes, *map(_left_out, others)])
    return [first, *found[1:]]


def _left_out(manifest: Manifest) -> FieldNote:
    notes = Notes(manifest)
    if not manifest.kind:
        notes.left_out((), "is no object of Kubernetes")
    else:
        name = clean(f"{manifest.kind} {manifest.name}".strip())
        reason = NO_GRAPHS.get((manifest.group, manifest.kind))
        notes.left_out(("kind",), f"{name} {reason or 'is not of a kind that can be imported'}")
    (note,) = notes.found
    return note


def _unknown(manifest: Manifest) -> Problem:
    if reason := NO_GRAPHS.get((manifest.group, manifest.kind)):
        return manifest.problem(("kind",), f"{manifest.kind} {reason}")
    named = f"{manifest.group}/{manifest.kind}"
    said = f"{shown(named)} cannot be imported{hint(named, importable())}"
    return manifest.problem(("kind",), said)
