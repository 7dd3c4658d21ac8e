"""Writes ``components.py`` for what Triton does to tensors between models of an ensemble."""

from __future__ import annotations

from collections.abc import Collection

COMPONENTS = "components.py"
_HEAD = '''"""Components of the graph: changes of shape that Triton makes between models."""

from __future__ import annotations

import numpy as np

from anabranch.errors import InvalidRequest
'''
_CLASSES = {
    "AddBatch": '''
class AddBatch:
    """Gives a tensor a batch dimension, for a model that has one."""

    def transform(self, x: np.ndarray) -> np.ndarray:
        return x[np.newaxis]
''',
    "DropBatch": '''
class DropBatch:
    """Takes the batch dimension off a tensor, for a model that has none."""

    def transform(self, x: np.ndarray) -> np.ndarray:
        if len(x) != 1:
            raise InvalidRequest(f"the model has no batch dimension: send 1 row, not {len(x)}")
        return x[0]
''',
    "Reshape": '''
class Reshape:
    """Gives a tensor another shape, as `reshape` in the configuration says."""

    def __init__(self, shape: list[int], keeps_rows: bool) -> None:
        self.shape, self.keeps_rows = shape, keeps_rows

    def transform(self, x: np.ndarray) -> np.ndarray:
        return x.reshape([len(x), *self.shape] if self.keeps_rows else self.shape)
''',
}


def component_file(names: Collection[str]) -> str:
    """Return the text of a module with these classes."""
    head = (
        _HEAD
        if "DropBatch" in names
        else _HEAD.replace("\nfrom anabranch.errors import InvalidRequest\n", "")
    )
    return "\n".join([head, *(_CLASSES[name] for name in sorted(names))])
