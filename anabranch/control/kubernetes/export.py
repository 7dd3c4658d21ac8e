"""All files of an export: manifests in YAML, and a README of six lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from anabranch.control.kubernetes import manifests
from anabranch.control.kubernetes.folders import GraphFolder
from anabranch.control.kubernetes.groups import WorkerGroup
from anabranch.control.kubernetes.pods import HTTP, Installation
from anabranch.errors import InvalidRequest

MOST_NAME = 40
"""Longest name of a cluster, in characters; KubeRay and Kubernetes add to it."""
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LAYER = "image"
_README = """\
1. Image: `docker build --build-arg EXTRAS=sklearn,onnx,postgres --tag {base} .` in a clone of anabranch{layer}; push it to where the cluster's nodes find it.
2. Operators: KubeRay 1.7 or newer; for `pod-monitor.yaml` the Prometheus operator, whose `podMonitorSelector` takes the label `app.kubernetes.io/part-of: {name}`.
3. Secrets: `{kubectl} create secret generic {name} --from-literal=token="$(openssl rand -hex 32)" --from-literal=auth_token="$(openssl rand -hex 32)" --from-literal=store='postgresql+psycopg://USER:PASSWORD@HOST/anabranch'`: the engine's token, Ray's token, and the store.
4. Start, and after every later export: `{kubectl} apply --server-side -f .`; `{kubectl} wait --for=condition=complete --timeout=15m {job}` waits for the graphs. {nodes}
5. Use: `{kubectl} port-forward service/{name} {port}`, then `anabranch --url http://127.0.0.1:{port} --token-file token status` with the token of the secret in the file `token`; TLS is the ingress's before the service.
6. Metrics: `{kubectl} create secret generic {name}-metrics --from-literal=key="$(anabranch --url http://127.0.0.1:{port} --token-file token keys create prometheus --role viewer)"`.
"""  # noqa: E501


def export(
    of: Installation,
    groups: Sequence[WorkerGroup],
    folders: Sequence[GraphFolder],
    layer: bool = False,
) -> dict[str, bytes]:
    """Return the files by their path; with ``layer`` among them those of an image with the graphs.

    Shared models are deployed before the graphs, which may use them.

    Raise TooLarge where a ConfigMap cannot hold a graph's files, and InvalidRequest for a name
    that is none, or two graphs of one name.
    """
    _check(of, folders)
    folders = sorted(folders, key=lambda one: not one.is_model)
    graphs = manifests.graphs(of, folders, layer)
    texts = {
        "cluster.yaml": _yaml(manifests.cluster(of, groups)),
        "services.yaml": _yaml(manifests.services(of)),
        "graphs.yaml": _yaml(graphs),
        "pod-monitor.yaml": _yaml(manifests.pod_monitor(of)),
        "README.md": _readme(of, groups, str(graphs[-1]["metadata"]["name"]), layer),
    }
    files = {name: text.encode() for name, text in texts.items()}
    if layer:
        built = manifests.layer_files(of, folders)
        files |= {f"{_LAYER}/{name}": content for name, content in built.items()}
    return files


def _check(of: Installation, folders: Iterable[GraphFolder]) -> None:
    for what, name in (("--name", of.name), ("--namespace", of.namespace or "default")):
        if not _NAME.fullmatch(name) or len(name) > MOST_NAME:
            raise InvalidRequest(
                f"{what} {name!r} is no name of at most {MOST_NAME} lower-case letters, digits and"
                " -, beginning with a letter and not ending with -"
            )
    names: set[str] = set()
    for one in folders:
        if one.graph in names:
            raise InvalidRequest(f"two of the files have graph {one.graph!r}: give one of them")
        names.add(one.graph)


def _readme(of: Installation, groups: Iterable[WorkerGroup], job: str, layer: bool) -> str:
    nodes = "".join(sentence for one in groups for sentence in _placing(one))
    base = "anabranch:base" if layer else of.image
    built = f", then `docker build --build-arg BASE={base} --tag {of.image} {_LAYER}` here"
    return _README.format(
        base=base, layer=built if layer else "", name=of.name, job=f"job/{job}", nodes=nodes,
        kubectl=f"kubectl --namespace {of.namespace}" if of.namespace else "kubectl", port=HTTP,
    ).replace(" \n", "\n")  # fmt: skip


def _placing(group: WorkerGroup) -> Iterator[str]:
    """Yield sentences on the nodes of Kubernetes that a group's pods need."""
    special = [*filter(None, [group.accelerator]), *group.custom]
    if special:
        yield (
            f"Pods of group `{group.name}` need nodes with {' and '.join(special)}: give their"
            " template in `cluster.yaml` the node selector that your nodes have for it. "
        )
    if group.labels:
        labels = ", ".join(f"`{key}={value}`" for key, value in group.labels.items())
        yield f"Pods of group `{group.name}` go to nodes that have the label {labels}. "


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, and no references to what comes twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100, explicit_start=True)
