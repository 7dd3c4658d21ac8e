"""Models of breast cancer, trained on the spot, and the sample that explainers are fitted on."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.explainers.local import Local, node, tensor

FEATURES = 8


@pytest.fixture(scope="session")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with models and samples; ``x`` [rows, 8] in FP32, ``y``, ``names``, ``forest``."""
    datasets = pytest.importorskip("sklearn.datasets")
    ensemble = pytest.importorskip("sklearn.ensemble")
    joblib = pytest.importorskip("joblib")
    data = datasets.load_breast_cancer()
    x, y = data.data[:, :FEATURES].astype(np.float32), data.target
    names = [name.replace(" ", "_") for name in data.feature_names[:FEATURES]]
    root = tmp_path_factory.mktemp("cancer")
    forest = ensemble.RandomForestClassifier(20, max_depth=5, random_state=0).fit(x, y)
    joblib.dump(forest, root / "forest.joblib")
    np.savez(root / "sample.npz", x=x[:100], y=y[:100], feature_names=names)
    np.save(root / "few.npy", x[:20])
    _write_csv(root / "sample.csv", x, y, names)
    return SimpleNamespace(root=root, x=x, y=y, names=names, forest=forest)


MIXED = """
import numpy as np

class Rent:
    '''Adds what each column is worth; a class by the sum with ``classes``.'''

    WORTH = {"north": 0.0, "south": 3.0, "west": 10.0}

    def __init__(self, classes=False):
        self.classes = classes

    def predict(self, district, rooms, area):
        assert district.dtype == object and rooms.dtype == np.int64 and area.dtype == np.float32
        worth = np.array([self.WORTH[str(text)] for text in district])
        rent = worth + 2 * rooms + area[:, 0]
        return (rent > 10).astype(np.int64) if self.classes else rent
"""


@pytest.fixture
def flats(tmp_path: Path) -> Any:
    """A folder with a component over columns of texts and numbers, and a sample of 27 rows.

    ``model(classes)`` is the component, ``x`` a request of two rows, ``rows`` the sample.
    """
    (tmp_path / "rent.py").write_text(MIXED)
    rows = list(product(("north", "south", "west"), (1, 2, 3), (0.5, 1.0, 4.0)))
    # Neither the order of the inputs nor all of them.
    lines = ["area,id,district,rooms", *(f"{a},{i},{d},{r}" for i, (d, r, a) in enumerate(rows))]
    (tmp_path / "sample.csv").write_text("\n".join(lines) + "\n")
    inputs = {"district": "district", "rooms": "rooms", "area": "area"}
    types = {"district": tensor("BYTES"), "rooms": tensor("INT64"), "area": tensor("FP32", 1)}

    def model(classes: bool = False) -> Local:
        spec = node(
            type="predictor", component="rent.py:Rent", inputs=inputs, args={"classes": classes}
        )
        return Local(spec, tmp_path, types)

    x = {
        "district": np.array(["west", b"north"], dtype=object),
        "rooms": np.array([1, 3]),
        "area": np.array([[0.5], [4.0]], np.float32),
    }
    return SimpleNamespace(root=tmp_path, model=model, x=x, rows=rows, types=types)


def _write_csv(path: Path, x: Any, y: Any, names: list[str]) -> None:
    lines = [",".join([*names, "truth"])]
    lines += [
        ",".join([*map(repr, row), str(label)]) for row, label in zip(x.tolist(), y, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
