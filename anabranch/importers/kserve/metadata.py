"""Metadata of an object of Kubernetes: labels of the graph, and notes on all else."""

from __future__ import annotations

import re

from anabranch.importers.fields import Fields
from anabranch.importers.manifests import WRITTEN_BY_CLUSTERS
from anabranch.specs.models import LABEL_KEY

_OF_CLUSTERS = (*WRITTEN_BY_CLUSTERS, "generateName")
_KNOWN = {
    "serving.kserve.io/deploymentMode": "the engine has one way to deploy",
    "serving.kserve.io/autoscalerClass": "the autoscaler of Kubernetes; `scaling` is Ray Serve's",
    "serving.kserve.io/enable-prometheus-scraping": "the engine has one address for all metrics",
    "serving.kserve.io/enable-metric-aggregation": "the engine has one address for all metrics",
    "sidecar.istio.io/inject": "a mesh around pods of KServe",
}


def import_metadata(root: Fields) -> dict[str, str]:
    """Return the labels of the graph; note the fields of ``metadata`` and ``status``."""
    metadata = root.within("metadata")
    metadata.asked |= {"name", "namespace"}
    metadata.reworded("the name of the graph, behind that of a namespace but `default`", "name")
    if metadata.has("namespace"):
        metadata.reworded("part of the graph's name, but for `default`", "namespace")
    labels = _labels(metadata)
    annotations = metadata.within("annotations")
    for key in annotations.data:
        if key in _KNOWN:
            annotations.reworded(_KNOWN[key], key)
        else:
            annotations.left_out("the language has no annotations", str(key))
    metadata.leave_out(dict.fromkeys(_OF_CLUSTERS, "written by a cluster, not by people"))
    metadata.finish()
    root.asked |= {"apiVersion", "kind"}
    root.leave_out({"status": "written by the cluster"})
    return labels


def _labels(metadata: Fields) -> dict[str, str]:
    found = {}
    for key, value in metadata.texts("labels").items():
        if re.fullmatch(LABEL_KEY, key) and len(value) <= 253:
            found[key] = value
            metadata.same("a label of the graph", "labels", key)
        else:
            metadata.left_out("no label of the language may be so", "labels", key)
    return found
