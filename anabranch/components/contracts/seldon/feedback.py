"""Rewards as Seldon's components take them: ``send_feedback`` and ``send_feedback_raw``.

A component gets the data of the request as the feedback repeats them, which are those of the whole
graph (``send_feedback`` in ``seldon_methods.py``). Arrays are empty where the feedback has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from anabranch.components.contract import NodeFeedback
from anabranch.components.contracts.adapting import check_synchronous
from anabranch.components.contracts.seldon.branches import branch_of
from anabranch.components.contracts.seldon.calling import asked, failing, is_left_out, own_method
from anabranch.components.contracts.seldon.messages import message
from anabranch.components.contracts.seldon.payloads import Payload, reader
from anabranch.components.parameters import parameters_of
from anabranch.specs.models import NodeBase

_read = reader("")


def feedback_of(component: Any, node: NodeBase, name: str) -> Callable[[NodeFeedback], None] | None:
    """Return what hands rewards to a component; None for one that takes none."""
    raw, plain = own_method(component, "send_feedback_raw"), own_method(component, "send_feedback")
    if raw is None and plain is None:
        return None
    call = None if plain is None else _caller(f"{type(component).__name__}.send_feedback()", plain)

    def feedback(given: NodeFeedback) -> None:
        routing = branch_of(given.path.get(name), node)
        with failing(name):
            _send(raw, call, given, name, routing)

    return feedback


def _send(
    raw: Callable[..., Any] | None,
    call: Callable[..., Any] | None,
    given: NodeFeedback,
    name: str,
    routing: int | None,
) -> None:
    payload, names = _request(given)
    truth = np.array([] if given.truth is None else given.truth)
    if raw is not None:
        try:
            raw(_message(payload, names, given, truth, {name: routing}))
            return
        except Exception as error:
            if not is_left_out(error):
                raise
    if call is not None:
        asked(call, payload, names, given.reward, truth, routing=routing)


def _request(given: NodeFeedback) -> tuple[Payload, Sequence[str]]:
    """Return the payload of the request, and names of its columns; of several inputs a dict."""
    if len(given.inputs) > 1:
        return {name: _read(tensor) for name, tensor in given.inputs.items()}, []
    for name, tensor in given.inputs.items():
        return _read(tensor), list(given.names.get(name, ()))
    return np.array([]), []


def _message(
    payload: Payload,
    names: Sequence[str],
    given: NodeFeedback,
    truth: Any,
    routing: Mapping[str, int | None],
) -> dict[str, Any]:
    """Return a ``Feedback`` message of ``proto/prediction.proto`` as a dict."""
    known = {name: branch for name, branch in routing.items() if branch is not None}
    return {
        "request": message(payload, names, {"puid": given.id}),
        "response": {"meta": {"puid": given.id, "routing": known}},
        "reward": given.reward,
        "truth": message(truth, [], None),
    }


def _caller(owner: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives a method as many arguments as it takes."""
    check_synchronous(owner, method)
    parameters = parameters_of(method) or []
    if any(one.name == "routing" or one.kind is one.VAR_KEYWORD for one in parameters):
        return method
    count = sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)
    return lambda *args, routing: method(*args[:count])
