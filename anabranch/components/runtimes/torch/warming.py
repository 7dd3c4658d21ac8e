"""Compiling a program, and inputs of zeros to do it with before the first request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.torch.loading import LoadedTorchModel
from anabranch.specs.models import TensorSpec

_FREE = 2
"""Size of free dimensions while warming up; 0 and 1 are special to the compiler."""


def compiled(torch: Any, model: LoadedTorchModel) -> LoadedTorchModel:
    """Return the model compiled by ``torch.compile``, with its first calls behind it.

    One row is compiled apart from more; after that no number of rows compiles again.
    """
    if None in model.specs:
        raise CannotLoad("args.compile needs a torch.export program, not TorchScript")
    found = replace(model, module=torch.compile(model.module, dynamic=True))
    for rows in (1, 2) if any(_is_free(spec) for spec in model.specs) else (1,):
        inputs = examples(torch, model, rows)
        # Moved within, as those of a request are: to the compiler such tensors are another kind.
        with torch.inference_mode():
            found.call([one.to(model.device) for one in inputs])
    return found


def examples(torch: Any, model: LoadedTorchModel, rows: int) -> list[Any]:
    """Return inputs of zeros on the CPU, with so many rows where they are free."""
    return [
        torch.zeros(_sizes(spec, rows), dtype=dtype)
        for spec, dtype in zip(model.specs, model.dtypes, strict=True)
    ]


def free_batch(model: LoadedTorchModel) -> bool:
    """Tell whether the first dimension of every input is free, and all others are fixed."""
    return all(
        spec is not None and _is_free(spec) and -1 not in spec.shape[1:] for spec in model.specs
    )


def _is_free(spec: TensorSpec | None) -> bool:
    return spec is not None and spec.shape[:1] == (-1,)


def _sizes(spec: TensorSpec | None, rows: int) -> list[int]:
    assert spec is not None
    first, rest = spec.shape[:1], spec.shape[1:]
    return [
        *(rows if size == -1 else size for size in first),
        *(_FREE if size == -1 else size for size in rest),
    ]
