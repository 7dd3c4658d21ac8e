"""Reads a model repository: a folder with a folder for each model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anabranch.errors import Problem, SpecError
from anabranch.importers.manifests import MAX_FILES, file_content
from anabranch.importers.triton.config_text import ModelConfig, parse_config

CONFIG = "config.pbtxt"
DEFAULT_FILES = {"onnxruntime_onnx": "model.onnx", "onnxruntime": "model.onnx"}
"""Names of the model's file by platform or backend, where ``default_model_filename`` is empty."""


@dataclass(frozen=True)
class TritonModel:
    """A model of a repository."""

    name: str
    folder: Path
    config: ModelConfig

    @property
    def is_ensemble(self) -> bool:
        """Whether the model is a graph over other models."""
        message = self.config.message
        return bool(message.platform == "ensemble" or message.HasField("ensemble_scheduling"))

    @property
    def versions(self) -> list[int]:
        """Numbers of the version folders, in order."""
        found = [one.name for one in self.folder.iterdir() if one.is_dir()]
        return sorted(int(name) for name in found if name.isdecimal() and not name.startswith("0"))

    def served(self) -> list[int]:
        """Return the versions that the version policy serves; the latest one without a policy."""
        policy, there = self.config.message.version_policy, self.versions
        choice = policy.WhichOneof("policy")
        if choice == "all":
            return there
        if choice == "specific":
            return [version for version in there if version in policy.specific.versions]
        return there[-max(1, policy.latest.num_versions) :]

    def file(self) -> Path | None:
        """Return the ONNX file of the newest version that is served; None if there is none."""
        message = self.config.message
        default = DEFAULT_FILES.get(message.platform) or DEFAULT_FILES.get(message.backend)
        served = self.served()
        if default is None or not served:
            return None
        name = message.default_model_filename or default
        path = self.folder / str(served[-1]) / name
        return path if "/" not in name and path.is_file() else None


@dataclass(frozen=True)
class Repository:
    """Models by name. Those without a ``config.pbtxt`` are in ``unconfigured`` alone."""

    models: Mapping[str, TritonModel]
    unconfigured: frozenset[str] = frozenset()


def is_repository(source: Path) -> bool:
    """Return whether a file or folder is what this importer reads."""
    if source.is_dir():
        return (source / CONFIG).is_file() or any(True for _ in source.glob(f"*/{CONFIG}"))
    return source.suffix == ".pbtxt"


def read_repository(source: Path) -> tuple[Repository, list[str]]:
    """Return a repository, and the models in it to import: all of them, or the one at ``source``.

    ``source`` is the repository's folder, a model's folder, or a ``config.pbtxt``. Raise SpecError
    for configurations that cannot be read.
    """
    file = source / CONFIG if source.is_dir() else source
    if not file.is_file():
        repository = _read(source)
        return repository, list(repository.models)
    model = _model(file.resolve().parent, file)
    return _with_steps(model), [model.name]


def _read(folder: Path) -> Repository:
    folders = sorted(one for one in folder.iterdir() if one.is_dir())
    if len(folders) > MAX_FILES:
        said = f"holds {len(folders)} folders; the limit is {MAX_FILES}"
        raise SpecError([Problem((), said, None, str(folder))])
    models: dict[str, TritonModel] = {}
    problems: list[Problem] = []
    for each in folders:
        if (each / CONFIG).is_file():
            try:
                model = _model(each, each / CONFIG)
            except SpecError as error:
                problems += error.problems
                continue
            if model.name in models:
                said = f"is {model.name!r}, as in the folder {models[model.name].folder.name!r}"
                problems.append(model.config.refuse("name", said=said))
            models[model.name] = model
    if problems:
        raise SpecError(problems)
    return Repository(models, frozenset(each.name for each in folders if _has_versions(each)))


def _with_steps(model: TritonModel) -> Repository:
    """Read the models of an ensemble's steps, which stand beside it, and theirs.

    Mistakes in them are not its matter.
    """
    models, waiting = {model.name: model}, [model]
    unconfigured: set[str] = set()
    while waiting:
        for step in waiting.pop().config.message.ensemble_scheduling.step:
            folder = model.folder.parent / step.model_name
            if step.model_name in models or "/" in step.model_name or len(models) >= MAX_FILES:
                continue
            with suppress(SpecError, OSError):
                if (folder / CONFIG).is_file():
                    found = _model(folder, folder / CONFIG)
                    models[step.model_name] = found
                    waiting.append(found)
                elif folder.is_dir() and _has_versions(folder):
                    unconfigured.add(step.model_name)
    return Repository(models, frozenset(unconfigured))


def _has_versions(folder: Path) -> bool:
    """Return whether a folder is a model's, which needs no configuration."""
    return not (folder / CONFIG).is_file() and any(one.name.isdecimal() for one in folder.iterdir())


def _model(folder: Path, file: Path) -> TritonModel:
    config = parse_config(file_content(file), str(file), folder.name)
    return TritonModel(str(config.message.name), folder, config)
