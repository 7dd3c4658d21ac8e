"""Annotations: timeouts of calls, and what else Seldon reads from them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from anabranch.importers.fields import Fields

REST_TIMEOUT, GRPC_TIMEOUT = "seldon.io/rest-timeout", "seldon.io/grpc-timeout"
_OLD_REST, _OLD_GRPC = "seldon.io/rest-read-timeout", "seldon.io/grpc-read-timeout"
"""Names of the timeouts before the executor."""
SEPARATE_ENGINE, NO_ENGINE = "seldon.io/engine-separate-pod", "seldon.io/no-engine"
SERVICE_NAME = "seldon.io/svc-name"
_TIMEOUTS = (REST_TIMEOUT, _OLD_REST, GRPC_TIMEOUT, _OLD_GRPC)
_INGRESS = "the engine's own edge takes requests: there is no ingress to configure"
_REASONS: Mapping[str, str] = {
    "seldon.io/grpc-max-message-size": "set ANABRANCH_MAX_BODY for the engine: the largest body",
    SERVICE_NAME: "the graph is reached by its own name",
    "seldon.io/headless-svc": _INGRESS,
    "seldon.io/no-storage-initializer": "models are fetched by the engine, without a container",
    "seldon.io/executor-logger-queue-size": "the request log has a bounded queue of its own",
    "seldon.io/executor-logger-write-timeout-ms": "the request log never delays a request",
    "seldon.io/engine-seldon-log-messages-externally": "`telemetry.requests` is the request log",
    "seldon.io/ambassador-header": "write a rule on `request.headers` in `traffic.rules`",
    "seldon.io/ambassador-regex-header": "write a rule on `request.headers` in `traffic.rules`",
    "seldon.io/ambassador-shadow": "write `shadow: true` instead, which becomes a mirror",
    "seldon.io/istio-retries": "mark nodes as `idempotent`, and give them `retries`",
    "seldon.io/istio-retries-timeout": "mark nodes as `idempotent`, and give them `retries`",
}
_BY_OPERATOR = ("kubectl.kubernetes.io/", "deployment.kubernetes.io/", "meta.helm.sh/", "helm.sh/")
_MEANT = {SEPARATE_ENGINE, NO_ENGINE, *_TIMEOUTS}


def note_annotations(owner: Fields) -> dict[str, str]:
    """Note the annotations of a map; return those that are no more than words of the user's own."""
    own = {}
    found = owner.within("annotations")
    for name in found.data:
        text = found.text(name)
        if name in _MEANT:
            continue
        if name in _REASONS:
            found.left_out(_REASONS[name], name)
        elif name.startswith("seldon.io/"):
            found.left_out(_INGRESS if "ambassador" in name or "istio" in name else _UNREAD, name)
        elif name.startswith(_BY_OPERATOR):
            found.reworded("written by a tool of Kubernetes, about the manifest itself", name)
        else:
            own[name] = text
    return own


_UNREAD = "a setting of Seldon's operator, which does not run here"


def is_true(owners: Sequence[Fields], name: str) -> bool:
    """Tell whether an annotation is ``true`` in one of the maps; note it where it is there."""
    found = False
    for given in (owner.within("annotations") for owner in owners):
        if name in given.data:
            found = found or given.text(name).lower() == "true"
            said = {
                SEPARATE_ENGINE: "routers are processes of their own, `scaling` of the graph",
                NO_ENGINE: "a graph of one node costs no hop: the router runs it",
            }[name]
            given.reworded(said, name)
    return found


def call_timeout(owners: Sequence[Fields], transport: str) -> int | None:
    """Return the longest time of a call in milliseconds; None if there is no limit.

    ``owners`` have annotations, those that win first. Both timeouts are per call
    (``doc/source/graph/annotations.md``); that of the transport wins, REST unless told otherwise.
    """
    order = _TIMEOUTS[2:] + _TIMEOUTS[:2] if transport == "grpc" else _TIMEOUTS
    chosen: int | None = None
    for name in order:
        for given in (owner.within("annotations") for owner in owners):
            if name in given.data:
                value = _milliseconds(given, name)
                if chosen is None and value is not None:
                    chosen = value
                    given.reworded(f"`timeout: {value}ms` of each node that is called", name)
                elif value == chosen:
                    given.reworded("the same `timeout` of each node", name)
                else:
                    given.left_out("nodes have one timeout, whatever the protocol", name)
    return chosen


def _milliseconds(annotations: Fields, name: str) -> int | None:
    text = annotations.text(name)
    if re.fullmatch(r"[0-9]{1,9}", text) and int(text) > 0:
        return int(text)
    annotations.mistake("must be a whole number of milliseconds, above 0", name)
    return None
