"""Train the forest of the explained graph, in a second, and set a fifth of the rows aside.

Writes ``models/forest.joblib``, ``models/sample.npz`` (``x`` FP32 ``[n, 10]``, ``y``,
``feature_names``) for explainers, and ``models/held_out.npz`` (``x``, ``y``) beside this file.
"""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
SEED = 0
FEATURES = 10
"""The means; their deviations and extremes are left out."""


def main() -> None:
    """Train, and write what the graph needs."""
    data = load_breast_cancer()
    x, held_x, y, held_y = train_test_split(
        data.data[:, :FEATURES].astype(np.float32), data.target, test_size=0.2, random_state=SEED
    )
    names = [name.removeprefix("mean ").replace(" ", "_") for name in data.feature_names[:FEATURES]]
    folder = HERE / "models"
    folder.mkdir(exist_ok=True)
    forest = RandomForestClassifier(n_estimators=40, max_depth=6, random_state=SEED).fit(x, y)
    joblib.dump(forest, folder / "forest.joblib")
    np.savez(folder / "sample.npz", x=x, y=y, feature_names=names)
    np.savez(folder / "held_out.npz", x=held_x, y=held_y)
    print(f"right on held-out rows: {forest.score(held_x, held_y):.1%}")


if __name__ == "__main__":
    main()
