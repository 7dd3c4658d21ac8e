"""Models of breast cancer, trained on the spot, and the sample that explainers are fitted on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

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


def _write_csv(path: Path, x: Any, y: Any, names: list[str]) -> None:
    lines = [",".join([*names, "truth"])]
    lines += [
        ",".join([*map(repr, row), str(label)]) for row, label in zip(x.tolist(), y, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
