"""Kinds of feature stores, by the scheme of a URL.

To add one, write a module with a class that has the methods of ``FeatureStore``, and list it in
``KINDS``. Libraries are imported when a store of their kind is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from anabranch.components.contract import CannotLoad
from anabranch.components.features.feast_repo import FeastStore
from anabranch.components.features.redis_hashes import RedisHashes
from anabranch.components.features.stores import FeatureStore, PastStore, StoreOptions
from anabranch.specs.excerpts import listing


@dataclass(frozen=True)
class StoreKind:
    """A kind of store: the schemes of its URLs, and the arguments that it needs or takes."""

    name: str
    schemes: tuple[str, ...]
    open: Callable[[StoreOptions], FeatureStore]
    """Makes the adapter; CannotLoad where its library is missing or the URL is wrong."""
    needs: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()


def _sql(options: StoreOptions) -> FeatureStore:
    from anabranch.components.features.sql import SqlStore

    return SqlStore(options)


def _server(options: StoreOptions) -> FeatureStore:
    from anabranch.components.features.server import FeatureServer

    return FeatureServer(options)


KINDS = (
    StoreKind(
        "Redis", ("redis", "rediss", "unix"), RedisHashes,
        needs=frozenset(("key",)), takes=frozenset(("timestamp",)),
    ),
    StoreKind(
        "SQL", ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql"), _sql,
        needs=frozenset(("table",)), takes=frozenset(("timestamp",)),
    ),
    StoreKind("Feast", ("feast",), FeastStore),
    StoreKind("a feature server", ("http", "https"), _server, takes=frozenset(("token",))),
)  # fmt: skip
OPTIONS = ("key", "table", "timestamp", "token")
"""Arguments that only some kinds of stores have."""
_SCHEMES = {scheme: kind for kind in KINDS for scheme in kind.schemes}


def kind_of_url(url: str) -> StoreKind:
    """Return the kind of store of a URL; ValueError with the known schemes for any other."""
    scheme = url.partition(":")[0].lower().partition("+")[0]
    if scheme not in _SCHEMES or ":" not in url:
        known = ", ".join(sorted(_SCHEMES))
        raise ValueError(f"the scheme {scheme!r:.80} is no feature store's (available: {known})")
    return _SCHEMES[scheme]


def url_problem(url: str) -> str | None:
    """Return what is wrong with the URL of a store in a spec; None where nothing is."""
    try:
        kind_of_url(url)
        parts = urlsplit(url)
    except ValueError as error:
        return str(error)
    if parts.password is not None or "password=" in parts.query:
        return (
            "a URL in a spec holds no password, for the spec is stored; give the URL by "
            "`env:NAME`, the variable NAME being among the node's `secrets`"
        )
    return None


def option_problems(kind: StoreKind, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (argument, message) for each argument that the kind lacks or does not take."""
    taken = kind.needs | kind.takes
    there = f" (it takes {listing(sorted(taken))})" if taken else ""
    found = [
        (name, f"{kind.name} takes no {name!r}{there}")
        for name in OPTIONS
        if given.get(name) is not None and name not in taken
    ]
    return found + [
        ("store", f"{kind.name} needs the argument {name!r}")
        for name in sorted(kind.needs)
        if given.get(name) is None
    ]


def open_store(options: StoreOptions) -> FeatureStore:
    """Return the adapter for the URL; CannotLoad for options that do not suit it."""
    try:
        kind = kind_of_url(options.url)
    except ValueError as error:
        raise CannotLoad(str(error)) from None
    wrong = option_problems(kind, {name: getattr(options, name) for name in OPTIONS})
    if wrong:
        raise CannotLoad("; ".join(text for _, text in wrong))
    return kind.open(options)


def past_store(options: StoreOptions) -> PastStore:
    """Return the adapter of a store that knows the past; CannotLoad for one that does not."""
    store = open_store(options)
    if not hasattr(store, "as_of"):
        kinds = ", ".join(kind.name for kind in KINDS if kind.name in ("SQL", "Feast"))
        raise CannotLoad(
            f"{kind_of_url(options.url).name} does not know the past: name a store that does "
            f"({kinds}) in the argument `offline` of node {options.node!r}"
        )
    return cast(PastStore, store)
