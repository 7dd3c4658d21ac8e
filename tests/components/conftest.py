from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from anabranch.components.source import roots
from anabranch.specs.models import Node, NodeBase

_NODE: TypeAdapter[NodeBase] = TypeAdapter(Node)


@pytest.fixture(scope="session")
def node() -> Callable[..., NodeBase]:
    """Make a node from its fields, one input ``x`` if they say none."""

    def make(**fields: Any) -> NodeBase:
        return _NODE.validate_python({"inputs": {"x": "x"}, **fields})

    return make


@pytest.fixture
def bundle(tmp_path: Path):
    """Write files into a bundle and return its folder."""
    written: list[Path] = []

    def write(files: dict[str, str | bytes], name: str = "bundle") -> Path:
        root = tmp_path / name
        written.append(root)
        for relative, content in files.items():
            path = root / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    yield write
    for root in written:
        roots.forget(root)
