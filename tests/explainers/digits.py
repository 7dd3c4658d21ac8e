"""A small network that tells the digits apart, trained on the spot, in every form it is served."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.explainers import local
from tests.explainers.local import Local, node

torch = pytest.importorskip("torch")
sklearn_datasets = pytest.importorskip("sklearn.datasets")


class Net(torch.nn.Module):
    """Pictures [rows, 1, 8, 8] to the logits of ten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.act = torch.nn.ReLU()
        self.pool = torch.nn.MaxPool2d(2)
        self.flat = torch.nn.Flatten()
        self.hidden = torch.nn.Linear(64, 16)
        self.tanh = torch.nn.Tanh()
        self.fc = torch.nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.tanh(self.hidden(self.flat(self.pool(self.act(self.conv(x)))))))


@cache
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Digits as FP32 [rows, 1, 8, 8] from 0 to 1, and which they are."""
    data = sklearn_datasets.load_digits()
    return (data.images[:, None] / 16).astype(np.float32), data.target


@cache
def network() -> Net:
    torch.manual_seed(0)
    net, (x, y) = Net(), pictures()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        optimizer.step()
    net.zero_grad()
    return net.eval()


def export(module: Any, path: Path, *examples: Any, free: bool = True) -> None:
    """Write a program of torch.export, which takes any number of rows if ``free``."""
    rows = {0: torch.export.Dim("rows", min=1, max=2**20)}
    shapes = tuple(rows for _ in examples) if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), examples, dynamic_shapes=shapes)
        torch.export.save(program, path)


def script(module: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(path)


def predictor(folder: Path, model: str, **fields: Any) -> Local:
    """A predictor with the runtime torch."""
    given = {"type": "predictor", "runtime": "torch", "model": model, "args": {"device": "cpu"}}
    return _local(folder, {**given, **fields})


def component(folder: Path, code: str, **fields: Any) -> Local:
    """A component ``Part``, whose code is given."""
    (folder / "parts.py").write_text(code)
    return _local(folder, {"type": "predictor", "component": "parts.py:Part", **fields})


def _local(folder: Path, fields: dict[str, Any]) -> Local:
    spec = node(**fields)
    return Local(spec, folder, dict.fromkeys(getattr(spec, "inputs")))  # noqa: B009


def explainer(model: Local, method: str, root: Path | None = None, **fields: Any) -> Any:
    """A built-in that explains ``model``, loaded."""
    return local.explainer(model, root or Path.cwd(), method, **fields)
