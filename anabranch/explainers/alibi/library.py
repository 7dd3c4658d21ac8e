"""Imports Alibi when the first of its explainers is loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anabranch.components.artefacts.paths import model_path, reading
from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.errors import Mistake
from anabranch.specs.models import Explainer

LICENCE = "Alibi is under the Business Source License 1.1, which is not an open-source licence"


def library(module: str = "alibi.explainers") -> Any:
    """Import a module of Alibi; raise CannotLoad with the missing extra and its licence."""
    with quiet():
        return require(module, "explain", LICENCE)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings that are meant for the developers of Alibi and its libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(node: Explainer, root: Path, cls: str, predictor: Callable[..., Any]) -> Any:
    """Load what ``explainer.save(folder)`` wrote, for a model that is called ``predictor``.

    Raises:
        ArtefactError: there is no such folder, or it is not what the digest says.
        CannotLoad: it holds no explainer of the class ``cls``.
    """
    load = library("alibi.saving").load_explainer
    path = model_path(node, root)
    if not (path / "meta.dill").is_file():
        raise CannotLoad(
            f"model {node.model!r} is no folder that an explainer of Alibi was saved to"
        )
    with quiet(), reading(node, root):
        explainer = load(path, predictor)
    if type(explainer).__name__ != cls:
        raise CannotLoad(f"model {node.model!r} is a saved {type(explainer).__name__}, not {cls}")
    return explainer


def already_fitted(node: Explainer, *fixed: str) -> Iterator[Mistake]:
    """Find what a saved explainer has of its own: a sample, and the arguments ``fixed``."""
    if node.model is None:
        return
    if node.data is not None:
        yield ("data",), "the model is a fitted explainer, which needs no data; remove one of them"
    for name in fixed:
        if name in node.args:
            yield ("args", name), "the model is a fitted explainer, which has its own; remove this"
