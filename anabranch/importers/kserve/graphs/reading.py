"""Reads the nodes of an InferenceGraph, with the mistakes that KServe's webhook finds and misses.

The webhook (``pkg/apis/serving/v1alpha1/inference_graph_validation.go``) refuses names that do not
fit, a graph without root, repeated names of steps, steps with no or several targets, and weights
that do not sum to 100. It lets pass nodes that are not there, cycles and negative weights, with
which requests fail or never end; these are mistakes here, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import networkx as nx

from anabranch.components.documents.paths import path_problem
from anabranch.components.runtimes.open_inference.addresses import is_url
from anabranch.importers.fields import Fields
from anabranch.importers.kserve.graphs.model import (
    ENSEMBLE,
    ROOT,
    ROUTER_TYPES,
    SEQUENCE,
    SPLITTER,
    SWITCH,
    GraphStep,
    RouterNode,
)
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import KUBERNETES_NAME

_RESPONSE = "$response"
_REQUEST = "$request"
_STEP_FIELDS = (
    *("name", "nodeName", "serviceName", "serviceUrl", "data", "mapPredictionsToInstances"),
    *("weight", "condition", "dependency"),
)
_TARGETS = ("nodeName", "serviceName", "serviceUrl")
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def check_name(fields: Fields, kind: str) -> None:
    """Find a name that KServe refuses for an object of a kind."""
    name = fields.source.manifest.name
    if not _NAME.fullmatch(name):
        said = (
            f"{shown(name)} is no name of an {kind}: it has small letters, digits and -, begins "
            "with a letter and does not end in -"
        )
        fields.mistake(said, "metadata", "name")


def read_nodes(spec: Fields) -> dict[str, RouterNode]:
    """Return the nodes by name; mistakes are kept in the source of the fields."""
    inner = spec.within("nodes")
    nodes = {str(name): _node(str(name), inner.within(name)) for name in inner.data}
    if not inner.data:
        spec.mistake("an InferenceGraph needs nodes", "nodes")
    elif ROOT not in nodes:
        spec.mistake(f"needs a node {ROOT!r}, at which requests begin", "nodes")
    _check_targets(nodes)
    _check_cycles(nodes)
    _note_unreached(nodes)
    return nodes


def _node(name: str, fields: Fields) -> RouterNode:
    kind = fields.choice("routerType", ROUTER_TYPES)
    if not fields.has("routerType"):
        fields.mistake(f"is required: one of {', '.join(ROUTER_TYPES)}", "routerType")
    items = fields.each("steps")
    if not items:
        fields.mistake("a node needs steps", "steps")
    steps = tuple(_step(kind, index, one) for index, one in enumerate(items))
    node = RouterNode(fields, name, kind, steps)
    _check_step_names(node)
    if kind == SPLITTER:
        _check_weights(node)
    fields.finish(("routerType", "steps"))
    fields.reworded(_MEANINGS.get(kind, ""), "routerType") if kind else None
    return node


_MEANINGS = {
    SEQUENCE: "nodes that read each other's outputs, with routers of `rules` where steps depend on "
    "conditions",
    SWITCH: "a router of `rules` over the request; where none holds, the request fails with 404, "
    "or with 500 where the node is not the root",
    ENSEMBLE: "nodes that are asked at once, and a combiner `object` over their documents, which "
    "need not be objects as KServe's must",
    SPLITTER: "a router of `weighted`",
}


def _step(kind: str, index: int, fields: Fields) -> GraphStep:
    step = GraphStep(
        fields=fields,
        index=index,
        name=fields.text("name"),
        node=fields.text("nodeName"),
        service=fields.text("serviceName"),
        url=fields.text("serviceUrl"),
        takes_response=_takes_response(kind, index, fields),
        maps_predictions=_maps_predictions(kind, fields),
        weight=_weight(kind, fields),
        condition=_condition(kind, index, fields),
        hard=_is_hard(kind, fields),
    )
    _check_target(step)
    if step.name:
        fields.reworded(
            "the key of the response" if kind == ENSEMBLE else "part of the node's name", "name"
        )
    fields.finish(_STEP_FIELDS)
    return step


def _takes_response(kind: str, index: int, fields: Fields) -> bool:
    data = fields.text("data")
    if not data:
        return False
    if kind != SEQUENCE:
        fields.reworded("has no meaning but in a Sequence: the step gets the node's input", "data")
        return False
    if data == _RESPONSE and index > 0:
        fields.same("the step reads the response of the step before", "data")
        return True
    if data == _REQUEST:
        fields.same("the step reads the node's input", "data")
    elif data == _RESPONSE:
        fields.reworded("the first step has no response before it: it reads the input", "data")
    else:
        said = f"KServe's router knows {_RESPONSE} alone, and sends the node's input for any other"
        fields.left_out(f"{said}, as the graph does", "data")
    return False


def _maps_predictions(kind: str, fields: Fields) -> bool:
    maps = fields.flag("mapPredictionsToInstances")
    if maps and kind == SEQUENCE:
        fields.reworded("a component that makes `instances` of `predictions`",
                        "mapPredictionsToInstances")  # fmt: skip
    elif maps:
        fields.reworded("has no meaning but in a Sequence", "mapPredictionsToInstances")
    return maps and kind == SEQUENCE


def _weight(kind: str, fields: Fields) -> int:
    weight = fields.whole("weight")
    if kind != SPLITTER:
        if weight is not None:
            fields.reworded("has no meaning but in a Splitter", "weight")
        return 0
    if weight is None:
        fields.mistake("a step of a Splitter needs a weight", "weight")
    elif weight < 0:
        fields.mistake(f"a weight may not be negative, as {weight} is", "weight")
    else:
        fields.same("the weight of the route", "weight")
    return weight or 0


def _condition(kind: str, index: int, fields: Fields) -> str:
    condition = fields.text("condition")
    if kind == SWITCH and not condition:
        said = "a step of a Switch without a condition is never taken, so neither is it here"
        fields.left_out(said, "condition")
    if not condition or kind not in (SWITCH, SEQUENCE):
        if condition:
            fields.reworded(f"has no meaning in a node of type {kind}", "condition")
        return ""
    if kind == SEQUENCE and index == 0:
        said = "there is no response before the first step, so that every request would fail"
        fields.mistake(said, "condition")
        return ""
    wrong = path_problem(condition)
    if wrong is not None:
        fields.mistake(f"cannot be taken over: {wrong}", "condition")
        return ""
    fields.reworded("`gjson_exists` in a rule of a router", "condition")
    return condition


def _is_hard(kind: str, fields: Fields) -> bool:
    dependency = fields.choice("dependency", ("Hard", "Soft"))
    if dependency and kind in (SPLITTER, SWITCH):
        said = f"has no meaning in a {kind}, which answers what the step does"
        fields.reworded(said, "dependency")
        return False
    if dependency == "Hard":
        fields.reworded("an answer of no success ends the node, as in KServe", "dependency")
    elif dependency == "Soft":
        fields.reworded("`accept: any`: an answer of any status is taken", "dependency")
    return dependency == "Hard"


def _check_target(step: GraphStep) -> None:
    given = [key for key in _TARGETS if step.fields.has(key)]
    if not given:
        step.fields.mistake(f"a step needs a target: one of {', '.join(_TARGETS)}")
    elif len(given) > 1:
        step.fields.mistake(f"a step has one target, not {' and '.join(given)}")
    if step.url and not is_url(step.url, is_whole=True):
        said = f"{shown(step.url)} is not of the form http(s)://host[:port][/path][?query]"
        step.fields.mistake(said, "serviceUrl")
    if step.service and not re.fullmatch(KUBERNETES_NAME, step.service):
        said = f"{shown(step.service)} is no name of an InferenceService"
        step.fields.mistake(said, "serviceName")


def _check_step_names(node: RouterNode) -> None:
    names = [step.name for step in node.steps if step.name]
    for step in node.steps:
        if names.count(step.name) > 1:
            step.fields.mistake(f"{shown(step.name)} names several steps of the node", "name")
    keys = [step.key for step in node.steps]
    if node.type == ENSEMBLE:
        for step in node.steps:
            if not step.name and keys.count(step.key) > 1:
                said = f"its key in the response, {step.key}, is the name of another step"
                step.fields.mistake(said)


def _check_weights(node: RouterNode) -> None:
    total = sum(step.weight for step in node.steps)
    if node.steps and total != 100:
        said = f"the weights of a Splitter must sum to 100, not {total}"
        node.fields.mistake(said, "steps")


def _check_targets(nodes: Mapping[str, RouterNode]) -> None:
    for step in _steps(nodes):
        if step.node and step.node not in nodes:
            there = hint(step.node, nodes)
            said = f"the graph has no node {shown(step.node)}{there}; KServe would answer 500"
            step.fields.mistake(said, "nodeName")


def _check_cycles(nodes: Mapping[str, RouterNode]) -> None:
    graph = _edges(nodes)
    inside = list(nx.strongly_connected_components(graph))
    for node in nodes.values():
        part = next(one for one in inside if node.name in one)
        for step in node.steps:
            if step.node in part and (len(part) > 1 or step.node == node.name):
                way = nx.shortest_path(graph, step.node, node.name)
                said = f"a cycle, {' → '.join([*way, step.node])}: requests would never end"
                step.fields.mistake(said, "nodeName")


def _note_unreached(nodes: Mapping[str, RouterNode]) -> None:
    if ROOT not in nodes:
        return
    reached = {ROOT, *nx.descendants(_edges(nodes), ROOT)}
    for node in nodes.values():
        if node.name not in reached:
            node.fields.left_out("no step leads to the node, so no request gets there")


def _edges(nodes: Mapping[str, RouterNode]) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    for node in nodes.values():
        graph.add_edges_from((node.name, step.node) for step in node.steps if step.node in nodes)
    return graph


def _steps(nodes: Mapping[str, RouterNode]) -> Iterator[GraphStep]:
    for node in nodes.values():
        yield from node.steps
