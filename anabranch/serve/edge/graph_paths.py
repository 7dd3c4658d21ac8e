"""HAProxy's rules by which the edge finds the graph that the path of a request names.

They say of a path what ``graph_in`` and ``graph_at`` say in the gateway, for names of graphs that
there may be, or nothing: encoded paths, and those of graphs without a router, are the gateway's.
"""

from __future__ import annotations

from anabranch.names import DEFAULT_NAMESPACE, PATH_WORDS
from anabranch.router.http.doors.places import OPENAI, SELDON, SELDON_APIS, V1

GRAPH = "txn.graph"
"""Variable of HAProxy that holds the name of the graph."""
_V2 = "/v2/models/"


def graph_rules() -> list[str]:
    """Return the rules, after which the variable ``GRAPH`` is there if the path names a graph.

    Of several that fit, the last counts.
    """
    return [*_of_models(), *_of_seldon(), *_of_openai()]


def _of_models() -> list[str]:
    """Return the rules for ``/v2/models/<graph>…`` and ``/v1/models/<graph>[:verb]``.

    A name has two parts unless its second one is a word that follows names.
    """
    named = "var(txn.named)"
    return [
        f"acl of-v2 path_beg {_V2}",
        f"acl of-v1 path_beg {V1}",
        f"acl is-longer {named},field(5,/) -m len gt 0",
        f"acl is-word {named},field(5,/) -m str {' '.join(sorted(PATH_WORDS))}",
        "http-request set-var(txn.named) path if of-v2",
        "http-request set-var(txn.named) path,field(1,:) if of-v1",
        f"http-request set-var({GRAPH}) {named},field(4,/) if of-v2 or of-v1",
        f"http-request set-var({GRAPH}) {named},field(4,/,2) if of-v2 is-longer !is-word"
        " or of-v1 is-longer !is-word",
    ]


def _of_seldon() -> list[str]:
    """Return the rules for ``/seldon/<namespace>/<name>…``, and without a namespace for APIs."""
    apis = "|".join(api.replace(".", r"\.") for api in SELDON_APIS)
    return [
        f"acl of-seldon path_beg {SELDON}",
        f"acl in-default path_beg {SELDON}{DEFAULT_NAMESPACE}/",
        f"acl is-bare path_reg '^{SELDON}[^/]+/({apis})'",
        f"http-request set-var({GRAPH}) path,field(3,/,2) if of-seldon !in-default"
        " { path,field(4,/) -m len gt 0 }",
        f"http-request set-var({GRAPH}) path,field(4,/) if in-default",
        f"http-request set-var({GRAPH}) path,field(3,/) if is-bare",
    ]


def _of_openai() -> list[str]:
    """Return the rules for ``/openai/<graph>/v1…``; a name may have two parts."""
    return [
        f"acl of-openai path_beg {OPENAI}",
        f"http-request set-var({GRAPH}) path,field(3,/) if of-openai"
        " { path,field(4,/) -m str v1 }",
        f"http-request set-var({GRAPH}) path,field(3,/,2) if of-openai"
        " { path,field(5,/) -m str v1 }",
    ]
