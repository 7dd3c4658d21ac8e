"""Manifests of other systems in the docs, and the graphs that the pages show beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.project.snippets import ROOT, Snippet, blocks

PAGES = sorted((ROOT / "docs" / "switching").glob("*.md"))
_OURS = "anabranch/v1"


@dataclass(frozen=True)
class Shown:
    """A manifest, and the graph that is shown below it as its import; None if there is none."""

    manifest: Snippet
    graph: Snippet | None


@cache
def shown() -> list[Shown]:
    """Return the manifests of all pages; the graph is the next block of YAML, if it is a graph."""
    found = []
    for page in PAGES:
        texts = [one for one in blocks(page) if one.kind == "yaml"]
        for index, one in enumerate(texts):
            if _version(one) not in ("", _OURS):
                after = texts[index + 1] if index + 1 < len(texts) else None
                is_graph = after is not None and _version(after) == _OURS
                found.append(Shown(one, after if is_graph else None))
    return found


@dataclass(frozen=True)
class ShownRepository:
    """Configurations of Triton by their path, and the graph that is shown as their import."""

    files: dict[str, str]
    graph: Snippet


@cache
def repository() -> ShownRepository:
    """Return the model repository on the page about Triton: each block begins with its path."""
    (page,) = [one for one in PAGES if one.stem == "triton"]
    found = [one for one in blocks(page) if one.kind in ("text", "yaml")]
    files = {
        one.text.splitlines()[0].removeprefix("# "): one.text for one in found if one.kind == "text"
    }
    (graph,) = [one for one in found if _version(one) == _OURS]
    return ShownRepository(files, graph)


def is_shown(one: Snippet) -> bool:
    """Tell whether a block is such a manifest or such a graph."""
    pairs = [(pair.manifest, pair.graph) for pair in shown()]
    return any(one in pair for pair in pairs) or one == repository().graph


def _version(one: Snippet) -> str:
    """Return ``apiVersion`` of the first document of a block; empty if it has none."""
    if one.kind != "yaml":
        return ""
    first: Any = next(iter(yaml.safe_load_all(one.text)), None)
    found = first.get("apiVersion") if isinstance(first, dict) else None
    return found if isinstance(found, str) else ""
