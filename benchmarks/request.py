"""The request that every contender gets, and the one right answer to it."""

from __future__ import annotations

import importlib.util
import json
import urllib.error
import urllib.request
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.contenders import GRAPH

INPUT = [[1.0, 2.0, 3.0, 4.0]]
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": INPUT[0]}]}
).encode()
TOLERANCE = 1e-6


class WrongAnswer(Exception):
    """A contender replied, but not with what the graph gives."""


def ask(url: str, timeout: float = 5.0) -> Any:
    """The reply to the request, as JSON; OSError or ValueError if there is none."""
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, BODY, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout) as reply:
        return json.loads(reply.read())


def check(reply: Any) -> None:
    """Raise WrongAnswer unless ``reply`` holds what the graph gives."""
    expected = _components().evaluate(np.array(INPUT, np.float32)).ravel()
    try:
        data = np.ravel(reply["outputs"][0]["data"])
        right = data.shape == expected.shape and np.abs(data - expected).max() <= TOLERANCE
    except (KeyError, IndexError, TypeError):
        right = False
    if not right:
        raise WrongAnswer(f"got {str(reply)[:300]}, not {expected.tolist()}")


def _components() -> ModuleType:
    """The graph's own file: it belongs to a bundle, so no package holds it."""
    spec = importlib.util.spec_from_file_location("graph_components", GRAPH / "components.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
