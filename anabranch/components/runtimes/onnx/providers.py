"""Execution providers of ONNX Runtime: which are tried, with which options, and which came of it.

ONNX Runtime calculates with the providers that it could start, and tells in its log alone which it
could not; of TensorRT without its libraries it raises instead. Here either is told: the next
provider of the list takes over with a warning, and without a next one the model does not load.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.onnx.engines import EngineFolder
from anabranch.specs.models import Predictor

logger = logging.getLogger("anabranch.components.onnx")

ProviderName: TypeAlias = Literal["tensorrt", "cuda", "cpu"]
PROVIDER_NAMES: tuple[ProviderName, ...] = get_args(ProviderName)
_LONG = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""ONNX Runtime's names."""
_INSTALL = "for a GPU: pip uninstall onnxruntime, then pip install 'anabranch[onnx-gpu]'"


@dataclass(frozen=True)
class ProviderChoice:
    """The providers that are tried, the best first, and the cap of each session."""

    names: Sequence[ProviderName]
    gpu_memory: int | None = None
    """Most bytes of GPU memory of a session; None for no cap."""
    engines: EngineFolder | None = None
    """Where TensorRT's engines are kept; None for nowhere."""

    def options(self, name: ProviderName) -> Mapping[str, str]:
        """Return the options of a provider; the GPU is the first that the process sees."""
        if name == "cpu":
            return {}
        if name == "tensorrt":
            return {"device_id": "0", **self._cap("trt_max_workspace_size"), **self._kept()}
        # Else the arena doubles with each extension, and is at its cap with half of it unused.
        strategy = {"arena_extend_strategy": "kSameAsRequested"} if self.gpu_memory else {}
        return {"device_id": "0", **self._cap("gpu_mem_limit"), **strategy}

    def _kept(self) -> dict[str, str]:
        if self.engines is None:
            return {}
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(self.engines.path),
        }

    def _cap(self, option: str) -> dict[str, str]:
        return {} if self.gpu_memory is None else {option: str(self.gpu_memory)}


def choose(
    node: Predictor, asked: Sequence[ProviderName] | None, available: Sequence[str]
) -> ProviderChoice:
    """Return the providers to try for a node, of those that its spec has ``asked`` for.

    Without any it is ``cuda``, then ``cpu``, where the node reserves a GPU, else ``cpu``.
    ``available`` are those that the installed onnxruntime was built with, by its names. Raise
    CannotLoad where none of the list is among them; warn of each that is not.
    """
    gpu = node.resources is not None and bool(node.resources.gpu)
    wanted = asked or (["cuda", "cpu"] if gpu else ["cpu"])
    there: list[ProviderName] = [one for one in wanted if _LONG[one] in available]
    lacking = ", ".join(one for one in wanted if one not in there)
    known = ", ".join(one for one in PROVIDER_NAMES if _LONG[one] in available)
    if not there:
        raise CannotLoad(
            f"args.providers asks for {lacking}, but the installed onnxruntime has {known}: "
            f"add one of these to the list, or {_INSTALL}"
        )
    if lacking:
        logger.warning(
            "%s: the installed onnxruntime has no %s, only %s: %s takes its place; %s",
            node.model, lacking, known, there[0], _INSTALL,
        )  # fmt: skip
    return ProviderChoice(there, _share(node))


def open_session(runtime: Any, path: Path, options: Any, choice: ProviderChoice) -> Any:
    """Open a model with the first provider of the choice that starts; operators go to later ones.

    Warn of each that does not start. Raise CannotLoad where none does, and what ONNX Runtime
    raises on the file itself.
    """
    if choice.names[0] != "cpu" and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()  # CUDA and cuDNN where they came as packages of Python
    for at, name in enumerate(choice.names):
        rest = choice.names[at:]
        try:
            session = _session(runtime, path, options, choice, rest)
        except Exception as error:
            if choice.engines is not None and choice.engines.heal(error):
                return open_session(runtime, path, options, choice)
            if len(rest) == 1:
                raise
            _warn(path, name, rest[1], " ".join(str(error).split())[:300])
            continue
        started = next((one for one in rest if _LONG[one] in session.get_providers()), None)
        if started is None:
            break
        if started != name:
            _warn(path, name, started, _NO_REASON)
        return session
    raise CannotLoad(
        f"args.providers asks for {', '.join(choice.names)}, which ONNX Runtime "
        f"{runtime.__version__} could not start: {_NO_REASON}; with cpu last in the list the model "
        "runs on the CPU then"
    )


_NO_REASON = (
    "the libraries of CUDA and cuDNN or a GPU are missing, and the process's log has ONNX "
    "Runtime's reason; reserve a GPU with resources: {gpu: 1}"
)


def _session(
    runtime: Any, path: Path, options: Any, choice: ProviderChoice, names: Sequence[ProviderName]
) -> Any:
    # Its own fall-back says nothing but on the standard output, and leaves the list out of account.
    providers = [(_LONG[one], dict(choice.options(one))) for one in names]
    return runtime.InferenceSession(path, options, providers=providers, enable_fallback=0)


def _warn(path: Path, name: str, instead: str, why: str) -> None:
    logger.warning("%s: %s did not start, so %s takes over: %s", path.name, name, instead, why)


def _share(node: Predictor) -> int | None:
    """Return the cap of a session: with ``multiplex`` all loaded models have equal shares."""
    if node.resources is None or node.resources.gpu_memory is None:
        return None
    sessions = 1 if node.multiplex is None else node.multiplex.max_loaded
    return int(node.resources.gpu_memory) // sessions
