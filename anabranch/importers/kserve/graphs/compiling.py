"""Turns the nodes of an InferenceGraph into nodes of a graph that mean the same.

In KServe's router a node answers a document and a status, or fails. What of these counts depends on
who asks (``WantedAnswer``). A node that several steps lead to is compiled for each of them, for it
answers each by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from anabranch.importers.kserve.graphs.model import (
    ENSEMBLE,
    ROOT,
    SEQUENCE,
    SPLITTER,
    GraphStep,
    RouterNode,
)
from anabranch.importers.kserve.graphs.nodes import ANSWERED, INSTANCES, GraphNodes

REQUEST, RESPONSE = "request", "response"
"""Input and output of the graph."""
_DOCUMENT = {"datatype": "BYTES", "shape": [1]}
_STATUS = {"datatype": "INT32", "shape": [1]}
_NO_SUCCESS = "inputs.{0}[0] < 200 || inputs.{0}[0] > 299"


class WantedAnswer(Enum):
    """What of an answer counts."""

    SUCCESS = "the document; a status of no success fails the request"
    DOCUMENT = "the document, whatever its status"
    BOTH = "the document and its status"


@dataclass(frozen=True)
class Reply:
    """The node that gives an answer, and the sources of its parts."""

    node: str
    document: str
    status: str = ""
    """Empty unless both were wanted."""

    @classmethod
    def of(cls, node: str, wanted: WantedAnswer) -> Reply:
        """Return the answer of a node that gives what is wanted."""
        if wanted is WantedAnswer.SUCCESS:
            return cls(node, node)
        status = f"{node}.status" if wanted is WantedAnswer.BOTH else ""
        return cls(node, f"{node}.output", status)


def compiled_graph(
    nodes: Mapping[str, RouterNode], service: Callable[[GraphStep], Mapping[str, Any]]
) -> tuple[GraphNodes, str]:
    """Return the nodes of a graph, and the source of its output.

    ``service`` returns the fields of the node that asks the service of a step. Raises TooManyNodes.
    """
    compiler = _Compiler(nodes, service)
    reply = compiler.node(nodes[ROOT], REQUEST, WantedAnswer.SUCCESS)
    return compiler.made, reply.document


class _Compiler:
    def __init__(
        self, nodes: Mapping[str, RouterNode], service: Callable[[GraphStep], Mapping[str, Any]]
    ) -> None:
        self._nodes, self._service = nodes, service
        self.made = GraphNodes({REQUEST: _DOCUMENT})

    def node(self, node: RouterNode, document: str, wanted: WantedAnswer) -> Reply:
        """Compile a node that gets a document; return its answer."""
        if node.type == SEQUENCE:
            return self._sequence(node, document, wanted)
        if node.type == ENSEMBLE:
            return self._ensemble(node, document, wanted)
        if node.type == SPLITTER:
            return self._splitter(node, document, wanted)
        return self._switch(node, document, wanted)

    def _step(
        self, node: RouterNode, step: GraphStep, document: str, wanted: WantedAnswer
    ) -> Reply:
        if step.node:
            return self.node(self._nodes[step.node], document, wanted)
        fields = dict(self._service(step))
        if wanted is not WantedAnswer.SUCCESS:
            fields["args"] = {**fields["args"], "accept": "any"}
        made = {"type": "predictor", "runtime": "rest", **fields, "inputs": {"document": document}}
        return Reply.of(self.made.add(f"{node.name}_{step.key}", made), wanted)

    def _splitter(self, node: RouterNode, document: str, wanted: WantedAnswer) -> Reply:
        replies = [self._step(node, step, document, wanted) for step in node.steps]
        weights = {reply.node: step.weight for reply, step in zip(replies, node.steps, strict=True)}
        fields = {"strategy": "weighted", "routes": weights}
        return Reply.of(self.made.add(node.name, {"type": "router", **fields}), wanted)

    def _switch(self, node: RouterNode, document: str, wanted: WantedAnswer) -> Reply:
        # In KServe's router an error of a nested node is one of 500 to the node that asks it.
        status: dict[str, Any] = {} if node.name == ROOT else {"args": {"status": 500}}
        rules = [
            (_exists(REQUEST, step.condition), self._step(node, step, document, wanted).node)
            for step in node.steps
            if step.condition
        ]
        return Reply.of(self._rules(node.name, {REQUEST: document}, rules, **status), wanted)

    def _ensemble(self, node: RouterNode, document: str, wanted: WantedAnswer) -> Reply:
        hard = [step for step in node.steps if step.hard]
        # The first step in order decides where several fail, not the first in time.
        by_status = bool(hard) and (wanted is not WantedAnswer.SUCCESS or len(hard) > 1)
        needs = {
            False: WantedAnswer.DOCUMENT,
            True: WantedAnswer.BOTH if by_status else WantedAnswer.SUCCESS,
        }
        replies = {
            step.index: self._step(node, step, document, needs[step.hard]) for step in node.steps
        }
        keys = {f"step_{step.index}": step.key for step in node.steps}
        names = _parameters(keys)
        inputs = {names[f"step_{index}"]: reply.document for index, reply in replies.items()}
        renamed = {name: keys[old] for old, name in names.items() if name != keys[old]}
        fields = {"strategy": "object", "inputs": inputs} | (
            {"args": {"keys": renamed}} if renamed else {}
        )
        merged = self.made.add(
            f"{node.name}_merged" if by_status else node.name, {"type": "combiner", **fields}
        )
        joined = Reply(merged, merged)
        if wanted is WantedAnswer.BOTH:
            joined = self._answered(joined)
        elif wanted is WantedAnswer.DOCUMENT:
            joined = Reply(merged, f"{merged}.output")
        if not by_status:
            return joined
        failed = [(step, replies[step.index]) for step in hard]
        rules = [
            (_NO_SUCCESS.format(f"status_{step.index}"), self._refused(reply, wanted).node)
            for step, reply in failed
        ]
        reads = {f"status_{step.index}": reply.status for step, reply in failed} | {
            # The steps that may fail are asked at the same time as the others.
            f"document_{index}": reply.document
            for index, reply in replies.items()
            if not reply.status
        }
        return Reply.of(self._rules(node.name, reads, rules, joined.node), wanted)

    def _sequence(self, node: RouterNode, document: str, wanted: WantedAnswer) -> Reply:
        replies: list[Reply] = []
        for step in node.steps:
            given = replies[-1].document if step.takes_response else document
            if step.maps_predictions:
                name = f"{node.name}_{step.key}_instances"
                outputs = {"outputs": {"output": _DOCUMENT}}
                given = self.made.add_component(name, INSTANCES, given, **outputs)
            is_last = step is node.steps[-1]
            needs = wanted if is_last else _of_middle(step, wanted)
            replies.append(self._step(node, step, given, needs))
        result = replies[-1]
        for index in range(len(replies) - 2, -1, -1):
            result = self._after(node, index, replies[index], result, wanted)
        return result

    def _after(
        self, node: RouterNode, index: int, reply: Reply, rest: Reply, wanted: WantedAnswer
    ) -> Reply:
        """Return the answer of a Sequence from the answer to a step on, given that to the rest."""
        step, following = node.steps[index], node.steps[index + 1]
        reads: dict[str, str] = {}
        rules: list[tuple[str, str]] = []
        if step.hard and wanted is not WantedAnswer.SUCCESS:
            reads["status"] = reply.status
            rules.append((_NO_SUCCESS.format("status"), self._given(reply, wanted).node))
        otherwise = rest.node
        if following.condition:
            reads[RESPONSE] = reply.document
            rules.append((_exists(RESPONSE, following.condition), rest.node))
            otherwise = self._ended(step, reply, wanted).node
        elif not rules and not following.takes_response:
            # Nothing reads the answer, and yet the step is asked, and asked first.
            reads[RESPONSE] = reply.document
            rules.append(("true", rest.node))
            otherwise = ""
        elif not rules:
            return rest
        name = f"{node.name}_after_{step.key}" if index else node.name
        return Reply.of(self._rules(name, reads, rules, otherwise), wanted)

    def _ended(self, step: GraphStep, reply: Reply, wanted: WantedAnswer) -> Reply:
        """Return the answer of a Sequence that a condition ends: the step's, with 200."""
        if wanted is WantedAnswer.BOTH and not step.hard:
            return self._answered(reply)
        return self._given(reply, wanted)

    def _given(self, reply: Reply, wanted: WantedAnswer) -> Reply:
        """Return an answer with what is wanted and no more, since routes have the same outputs."""
        if wanted is not WantedAnswer.SUCCESS or reply.document == reply.node:
            return reply
        fields = {"method": "rename", "args": {"names": {}}, "inputs": {"output": reply.document}}
        name = self.made.add(f"{reply.node}_document", {"type": "transformer", **fields})
        return Reply(name, name)

    def _refused(self, reply: Reply, wanted: WantedAnswer) -> Reply:
        """Return an answer whose status is no success: it fails the request, if that is wanted."""
        if wanted is not WantedAnswer.SUCCESS:
            return reply
        fields = {
            "method": "require_success",
            "inputs": {"document": reply.document, "status": reply.status},
        }
        name = self.made.add(f"{reply.node}_failed", {"type": "transformer", **fields})
        return Reply(name, name)

    def _answered(self, reply: Reply) -> Reply:
        outputs = {"outputs": {"output": _DOCUMENT, "status": _STATUS}}
        name = self.made.add_component(f"{reply.node}_200", ANSWERED, reply.document, **outputs)
        return Reply.of(name, WantedAnswer.BOTH)

    def _rules(
        self,
        name: str,
        inputs: Mapping[str, str],
        rules: Iterable[tuple[str, str]],
        otherwise: str = "",
        **more: Any,
    ) -> str:
        fields: dict[str, Any] = {
            "type": "router",
            "strategy": "rules",
            "inputs": dict(inputs),
            "rules": [{"when": when, "to": target} for when, target in rules],
            **more,
        }
        return self.made.add(name, fields | ({"otherwise": otherwise} if otherwise else {}))


def _of_middle(step: GraphStep, wanted: WantedAnswer) -> WantedAnswer:
    """Return what counts of a step that is not the last of a Sequence."""
    if not step.hard:
        return WantedAnswer.DOCUMENT
    return WantedAnswer.SUCCESS if wanted is WantedAnswer.SUCCESS else WantedAnswer.BOTH


def _exists(name: str, path: str) -> str:
    """Return the condition that a document has something at a path of GJSON."""
    return f"gjson_exists(inputs.{name}[0], {json.dumps(path, ensure_ascii=False)})"


def _parameters(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the names of parameters: the keys themselves, where those can be such."""
    found: dict[str, str] = {}
    for fallback, key in keys.items():
        plain = key.replace("-", "_")
        usable = plain.isidentifier() and plain.isascii() and len(plain) < 127
        free = usable and plain not in found.values() and plain != "context"
        found[fallback] = plain if free and plain not in keys else fallback
    return found
