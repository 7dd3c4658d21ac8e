"""Metadata of an object of Seldon Core v2."""

from __future__ import annotations

from anabranch.importers.fields import Fields

_OF_CLUSTERS = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "ownerReferences",
)  # fmt: skip


def note_metadata(root: Fields) -> str:
    """Return the name of an object; note the fields around its ``spec``."""
    root.asked |= {"apiVersion", "kind"}
    version = root.source.manifest.api_version.rpartition("/")[2]
    if version != "v1alpha1":
        said = f"{version!r} is no version of Seldon Core v2 (available: v1alpha1)"
        root.mistake(said, "apiVersion")
    metadata = root.within("metadata")
    name = metadata.required("name")
    metadata.reworded("in the name of the graph or node", "name")
    if metadata.text("namespace"):
        metadata.reworded("part of the graph's name, but for `default`", "namespace")
    for key in ("labels", "annotations"):
        inner = metadata.within(key)
        for label in inner.data:
            inner.left_out("labels of a graph stand in its own `metadata`", str(label))
    metadata.leave_out(dict.fromkeys(_OF_CLUSTERS, "written by a cluster, not by people"))
    metadata.finish()
    root.leave_out({"status": "written by the cluster"})
    return name
