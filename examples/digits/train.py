"""Train the models of the digits graph, in seconds, and set a fifth of the images aside.

Writes ``models/forest.joblib``, ``models/net.pt2`` and ``models/held_out.npz`` (``pixels`` FP32
``[n, 64]`` from 0 to 16, ``digits`` INT64 ``[n]``) beside this file.
"""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
SEED = 0
Images = npt.NDArray[np.float32]
Digits = npt.NDArray[np.int64]


def split() -> tuple[Images, Images, Digits, Digits]:
    """Return training and held-out pixels, training and held-out digits."""
    pixels, digits = load_digits(return_X_y=True)
    return train_test_split(
        pixels.astype(np.float32), digits, test_size=0.2, random_state=SEED, stratify=digits
    )


def train_forest(x: Images, y: Digits) -> RandomForestClassifier:
    """Fit a random forest; ``predict_proba`` gives FP64 ``[n, 10]``."""
    return RandomForestClassifier(n_estimators=40, random_state=SEED).fit(x, y)


def train_net(x: Images, y: Digits, epochs: int = 60) -> nn.Module:
    """Fit a small network that gives probabilities, FP32 ``[n, 10]``."""
    torch.manual_seed(SEED)
    layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(layers.parameters(), lr=0.01)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(layers(images[batch]), labels[batch]).backward()
            optimiser.step()
    return nn.Sequential(layers, nn.Softmax(dim=-1)).eval()


def export(net: nn.Module, path: Path) -> None:
    """Write the network as a program that takes any number of rows."""
    rows = torch.export.Dim("rows")
    program = torch.export.export(net, (torch.zeros(2, 64),), dynamic_shapes=({0: rows},))
    torch.export.save(program, path)


def main() -> None:
    """Train both models and write them with the held-out split."""
    models = HERE / "models"
    models.mkdir(exist_ok=True)
    x, held_out, y, answers = split()
    joblib.dump(train_forest(x / 16, y), models / "forest.joblib")
    export(train_net(x / 16, y), models / "net.pt2")
    np.savez(models / "held_out.npz", pixels=held_out, digits=answers)
    print(f"Trained on {len(x)} images, held out {len(held_out)}: see {models.name}/")


if __name__ == "__main__":
    main()
