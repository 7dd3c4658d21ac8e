"""Names of graphs: ``name``, or ``namespace/name``, in paths, and where no slash may stand."""

from __future__ import annotations

import re

from anabranch.errors import NotFound

PART = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
"""A namespace, or a graph's name within it: at most 63 characters."""
GRAPH_NAME = rf"^{PART}(/{PART})?$"
MAX_NAME = 2 * 63 + 1
"""Longest name of a graph, in characters."""
MODEL_WORDS = frozenset(
    {
        "docs", "document", "explain", "feedback", "generate", "generate_stream", "infer",
        "openapi.json", "predict", "ready", "requests", "versions",
    }
)  # fmt: skip
"""Words that follow a graph's name in paths of the Open Inference Protocol."""
V1_WORDS = frozenset({"metadata"})
"""Words that follow it only in paths of KServe's and TensorFlow Serving's V1 protocol."""
CONTROL_WORDS = frozenset(
    {
        "abort", "bandits", "compare", "experiments", "history", "load", "logs", "monitors",
        "promote", "replicas", "revisions", "rollback", "rollout", "traffic", "unload",
    }
)  # fmt: skip
"""Words that follow it in paths of the control API."""
PATH_WORDS = MODEL_WORDS | V1_WORDS | CONTROL_WORDS
"""None is the second part of a name, so that a path says by itself where the name in it ends."""
GRAPH_IN_PATH = (
    rf"[^/]{{1,64}}(?:/(?!(?:{'|'.join(map(re.escape, sorted(PATH_WORDS)))})(?:/|\Z))[^/]{{1,64}})?"
)
"""Pattern of a graph's name in a decoded path, well-formed or not."""
DEFAULT_NAMESPACE = "default"
"""The namespace of graphs whose names have but one part."""


def refuse_path_word(name: str) -> str:
    """Return a graph's name; ValueError where its second part is a word of paths."""
    word = name.partition("/")[2]
    if word in PATH_WORDS:
        raise ValueError(
            f"{name!r} cannot be a graph's name: {word!r} is reserved, since it is part of URL "
            "paths; choose another name"
        )
    return name


def namespace_of(graph: str) -> str:
    """Return the namespace that a graph belongs to."""
    namespace, slash, _ = graph.partition("/")
    return namespace if slash else DEFAULT_NAMESPACE


def every_graph_of(namespace: str) -> str:
    """Return the pattern of all graphs of a namespace, and maybe of others."""
    return "*" if namespace == DEFAULT_NAMESPACE else f"{namespace}/*"


def graph_in(path: str) -> str:
    """Return the graph's name, well-formed or not, at the beginning of a decoded path."""
    first, _, rest = path.partition("/")
    second = rest.partition("/")[0]
    return f"{first}/{second}" if second and second not in PATH_WORDS else first


def graph_path(graph: str) -> str:
    """Return the decoded path of a graph in the control API.

    NotFound for a text with which the path would be that of something else.
    """
    if graph_in(graph) != graph:
        raise NotFound(f"there is no graph {graph[: MAX_NAME + 1]!r}")
    return f"/graphs/{graph}"


def slashless(graph: str) -> str:
    """Return a graph's name for files and applications: ``team_name`` for ``team/name``.

    Names of graphs have no underscores, so no two are the same then.
    """
    return graph.replace("/", "_")


def with_slash(text: str) -> str:
    """Return the graph's name of which ``slashless`` made a text."""
    return text.replace("_", "/")
