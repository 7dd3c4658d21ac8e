"""The graph that a path of another protocol names."""

from __future__ import annotations

from anabranch.names import DEFAULT_NAMESPACE, graph_in

V1 = "/v1/models/"
SELDON = "/seldon/"
_APIS = ("api/v1.0/", "api/v0.1/")


def graph_at(path: str) -> str | None:
    """Return the graph, well-formed or not, that a decoded path names; None where it names none.

    These are ``/v1/models/<graph>[:verb]``, and ``/seldon/<namespace>/<name>/…``, in which the
    namespace of graphs without one is ``default``, and may be left out before ``api``.
    """
    if path.startswith(V1):
        return graph_in(path.removeprefix(V1).partition(":")[0]) or None
    if path.startswith(SELDON):
        namespace, _, rest = path.removeprefix(SELDON).partition("/")
        name = rest.partition("/")[0]
        if not namespace or not name:
            return None
        if rest.startswith(_APIS):
            return namespace
        return name if namespace == DEFAULT_NAMESPACE else f"{namespace}/{name}"
    return None
