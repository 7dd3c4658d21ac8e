"""A model and its tokenizer from a folder: nothing is fetched, and none of its code is run.

Only safetensors are read, since weights in pickles could run code, and so could the folder's own
Python files, which are never asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.torch.devices import NAMES
from anabranch.specs.excerpts import listing

_SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class PipelineParts:
    """The parts that a task works with; ``model`` is None for tasks of the tokenizer alone."""

    transformers: Any
    torch: Any
    tokenizer: Any
    model: Any
    device: str


def load(
    transformers: Any, torch: Any, path: Path, auto: str | None, device: str, dtype: Any
) -> PipelineParts:
    """Load a folder's tokenizer, and its model by the class ``auto`` of transformers, if any.

    CannotLoad for what is no such folder, or has its weights in pickles only.
    """
    _check_folder(path, needs_weights=auto is not None)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, **_SAFE)
    model = None
    if auto is not None:
        cls: Callable[..., Any] = getattr(transformers, auto).from_pretrained
        model = cls(path, use_safetensors=True, **_SAFE).to(NAMES[device], dtype).eval()
    return PipelineParts(transformers, torch, tokenizer, model, NAMES[device])


def _check_folder(path: Path, needs_weights: bool) -> None:
    if not path.is_dir():
        raise CannotLoad(f"{path.name} is a file: name the folder that save_pretrained wrote")
    there = sorted(entry.name for entry in path.iterdir())
    if needs_weights and "config.json" not in there:
        raise CannotLoad(f"there is no config.json among {listing(there) or 'its files: none'}")
    if needs_weights and not any(name.endswith(".safetensors") for name in there):
        raise CannotLoad(
            f"it holds {listing(there)}, but no .safetensors, and weights in pickles could run "
            "code: write it with save_pretrained(..., safe_serialization=True)"
        )
