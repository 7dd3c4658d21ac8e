"""Metadata of an object of Seldon Core v2."""

from __future__ import annotations

import re

from anabranch.importers.fields import Fields
from anabranch.importers.manifests import WRITTEN_BY_CLUSTERS
from anabranch.specs.excerpts import shown

_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]{0,252}")


def read_name(fields: Fields, key: str = "name") -> str:
    """Return a name of a model, pipeline or step; a name of another form is a mistake."""
    name = fields.required(key)
    if name and not _NAME.fullmatch(name):
        said = f"{shown(name)} must begin with a letter or digit, and may have only those, - and _"
        fields.mistake(said, key)
    return name


def note_metadata(root: Fields, is_model: bool = True) -> str:
    """Return the name of an object; note the fields around its ``spec``.

    References name objects that are models, pipelines or experiments, not servers.
    """
    root.asked |= {"apiVersion", "kind"}
    version = root.source.manifest.api_version.rpartition("/")[2]
    if version != "v1alpha1":
        said = f"{version!r} is no version of Seldon Core v2 (available: v1alpha1)"
        root.mistake(said, "apiVersion")
    metadata = root.within("metadata")
    name = read_name(metadata) if is_model else metadata.required("name")
    metadata.reworded("in the name of the graph or node", "name")
    if metadata.text("namespace"):
        metadata.reworded("part of the graph's name, but for `default`", "namespace")
    for key in ("labels", "annotations"):
        inner = metadata.within(key)
        for label in inner.data:
            inner.left_out("labels of a graph stand in its own `metadata`", str(label))
    metadata.leave_out(dict.fromkeys(WRITTEN_BY_CLUSTERS, "written by a cluster, not by people"))
    metadata.finish()
    root.leave_out({"status": "written by the cluster"})
    return name
