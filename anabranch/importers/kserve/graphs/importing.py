"""From the manifest of an InferenceGraph to a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.importers.fields import Fields, Source
from anabranch.importers.graph_names import graph_name
from anabranch.importers.kserve.addresses import ServiceAddress, namespace_of
from anabranch.importers.kserve.graphs.compiling import (
    REQUEST,
    RESPONSE,
    compiled_graph,
)
from anabranch.importers.kserve.graphs.model import GraphStep
from anabranch.importers.kserve.graphs.nodes import MAX_NODES, TooManyNodes
from anabranch.importers.kserve.graphs.reading import check_name, read_nodes
from anabranch.importers.kserve.metadata import import_metadata
from anabranch.importers.kserve.pods import import_placement
from anabranch.importers.kserve.scaling import import_scaling
from anabranch.importers.result import ImportedGraph, document

KIND = "InferenceGraph"
_TIMEOUTS = {
    "serverRead": "the time that the body of a request may take is a setting of the engine",
    "serverWrite": "the time of a request is `timeout`; that of sending an answer is the engine's",
    "serverIdle": "how long an idle connection is kept is up to the engine",
}
_NO_COUNTERPART = {
    "resources": "the graph's nodes run in its routers, whose processes have no resources of "
    "their own in the language; they need little, since they wait for services",
    "serviceAccountName": "no pod of the graph's own calls Kubernetes",
}

Addresses = Mapping[tuple[str, str], ServiceAddress]


def import_graph(source: Source, addresses: Addresses) -> ImportedGraph | None:
    """Return the graph of a manifest; None where it has mistakes, which the source holds then."""
    root = source.fields()
    manifest = source.manifest
    check_name(root, KIND)
    labels = import_metadata(root)
    spec = root.within("spec")
    nodes = read_nodes(spec)
    timeout = _service_timeout(spec)
    fields = _fields(spec)
    spec.finish()
    root.finish(("status",))
    if source.problems:
        return None

    def service(step: GraphStep) -> dict[str, Any]:
        return {"args": {"url": _url(step, source, addresses)}, **timeout}

    try:
        made, output = compiled_graph(nodes, service)
    except TooManyNodes:
        said = (
            f"becomes more than {MAX_NODES} nodes, since a node that several steps lead to is "
            "written once for each"
        )
        spec.mistake(said, "nodes")
        return None
    name = graph_name(manifest.name, manifest.namespace)
    _note_whole(root, source)
    whole = {
        "inputs": {REQUEST: {"datatype": "BYTES", "shape": [1]}},
        "nodes": made.nodes,
        "outputs": {RESPONSE: output},
        "protocols": ["document"],
        **fields,
    }
    return ImportedGraph(
        document(name, whole, labels),
        f"{KIND} {manifest.name}",
        files=made.files,
        notes=source.notes.found,
        steps=("anabranch deploy graph.yaml",),
    )


def _fields(spec: Fields) -> dict[str, Any]:
    """Return the fields of the graph's spec beside its nodes."""
    found: dict[str, Any] = {}
    seconds = spec.whole("timeout")
    if seconds is not None and seconds > 0:
        spec.same("the longest time of a request", "timeout")
        found["timeout"] = f"{seconds}s"
    scaling = import_scaling(spec)
    if scaling:
        found["scaling"] = scaling
    placement = import_placement(spec)
    if placement:
        found["placement"] = placement
    spec.leave_out(_NO_COUNTERPART)
    return found


def _service_timeout(spec: Fields) -> dict[str, str]:
    timeouts = spec.within("routerTimeouts")
    seconds = timeouts.whole("serviceClient")
    timeouts.leave_out(_TIMEOUTS)
    timeouts.finish()
    if seconds is None or seconds <= 0:
        return {}
    timeouts.reworded("`timeout` of each node that asks a service; 504 in place of 500",
                      "serviceClient")  # fmt: skip
    return {"timeout": f"{seconds}s"}


def _url(step: GraphStep, source: Source, addresses: Addresses) -> str:
    """Return the URL of a step's service, and note where it comes from."""
    if step.url:
        if "{" in step.url or "$" in step.url:
            step.fields.to_do("replace what stands for a part of the URL", "serviceUrl")
        else:
            step.fields.same("the `url` of a node of the runtime `rest`", "serviceUrl")
        return step.url
    namespace = namespace_of(source.manifest)
    known = addresses.get((namespace, step.service))
    address = known or ServiceAddress(step.service, namespace)
    if known is None:
        said = (
            f"the InferenceService is not part of this import: `url` is its address in the "
            f"cluster for V1; if it speaks V2, it is /v2/models/{step.service}/infer"
        )
        step.fields.to_do(said, "serviceName")
    else:
        graph = graph_name(known.name, source.manifest.namespace)
        said = (
            f"`url` is the address of the InferenceService in the cluster ({known.protocol}); once "
            f"its graph {graph} of this import is up, the `url` may be the engine's, with that path"
        )
        step.fields.reworded(said, "serviceName")
    return address.url


def _note_whole(root: Fields, source: Source) -> None:
    """Note what no field says: the input and the output of the graph, and headers."""
    said = (
        "`protocols: [document]`: clients post the document to /v2/models/NAME/document. It is the "
        f"input `{REQUEST}`, the answer is the output `{RESPONSE}`. Where KServe answers a status "
        "of no success, the request fails with that status. No header goes to the services, unless "
        "`headers` of their nodes name it (`router.headers.propagate` of KServe's configuration)"
    )
    root.reworded(said, "spec")
