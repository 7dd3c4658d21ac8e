"""The graph that a path of another protocol names."""

from __future__ import annotations

import re

from anabranch.names import DEFAULT_NAMESPACE, graph_in

V1 = "/v1/models/"
SELDON = "/seldon/"
SELDON_APIS = ("api/v1.0/", "api/v0.1/")
"""Beginnings of what follows a graph's name there, before which the namespace may be left out."""
MODELS = "/v1/models"
"""The list of graphs, as OpenAI's API and V1 have it."""
OPENAI = "/openai/"
MODEL_IN_BODY = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
"""Paths of OpenAI's API: the graph is the field ``model`` of the body."""
_OPENAI_GRAPH = re.compile(r"/openai/([^/]+(?:/[^/]+)?)(?:/versions/[^/]+)?/v1(?:/|\Z)").match


def graph_at(path: str) -> str | None:
    """Return the graph, well-formed or not, that a decoded path names; None where it names none.

    These are ``/v1/models/<graph>[:verb]``, ``/openai/<graph>[/versions/<N>]/v1/…``, and
    ``/seldon/<namespace>/<name>/…``, in which the namespace of graphs without one is ``default``,
    and may be left out before ``api``.
    """
    if path.startswith(V1):
        return graph_in(path.removeprefix(V1).partition(":")[0]) or None
    if path.startswith(OPENAI):
        found = _OPENAI_GRAPH(path)
        return None if found is None else found[1]
    if path.startswith(SELDON):
        namespace, _, rest = path.removeprefix(SELDON).partition("/")
        name = rest.partition("/")[0]
        if not namespace or not name:
            return None
        if rest.startswith(SELDON_APIS):
            return namespace
        return name if namespace == DEFAULT_NAMESPACE else f"{namespace}/{name}"
    return None


def openai_base(graph: str) -> str:
    """Return the path of a graph below which ``/v1/…`` of OpenAI's API is."""
    return f"{OPENAI}{graph}"
