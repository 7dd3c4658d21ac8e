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


def is_shown(one: Snippet) -> bool:
    """Tell whether a block is such a manifest or such a graph."""
    return any(one in (pair.manifest, pair.graph) for pair in shown())


def _version(one: Snippet) -> str:
    """Return ``apiVersion`` of the first document of a block; empty if it has none."""
    first: Any = next(iter(yaml.safe_load_all(one.text)), None)
    found = first.get("apiVersion") if isinstance(first, dict) else None
    return found if isinstance(found, str) else ""
