"""The digits graph in three ways, for ``demo.py`` to compare: what batching and the plan bring."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Change = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Variant:
    """A graph of the name, which differs from ``graph.yaml`` by a change of each node."""

    name: str
    title: str
    change: Change

    @contextmanager
    def written(self, folder: Path) -> Iterator[Path]:
        """Copy the bundle in ``folder`` and change the copy; gives the path of its spec."""
        with tempfile.TemporaryDirectory(prefix="anabranch-demo-") as parent:
            copy = Path(parent) / self.name
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
            document = yaml.safe_load((copy / "graph.yaml").read_text())
            document["metadata"]["name"] = self.name
            for node in document["spec"]["nodes"].values():
                self.change(node)
            (copy / "graph.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
            yield copy / "graph.yaml"


def _isolated(node: dict[str, Any]) -> None:
    node["placement"] = {"isolate": True}


VARIANTS = (
    Variant("digits", "the graph as it is", lambda node: None),
    Variant("digits-unbatched", "without batching", lambda node: node.pop("batching", None)),
    Variant("digits-apart", "each node in its own process", _isolated),
)
