"""References to tensors: ``step``, ``step.outputs.tensor``, ``pipeline.step.name.inputs.tensor``.

Source: ``scheduler/pkg/store/pipeline/utils.go`` (what is left out) and ``validate.go`` (what is
refused) of SeldonIO/seldon-core v2.6.0.
"""

from __future__ import annotations

from dataclasses import dataclass

INPUTS, OUTPUTS, STEP = "inputs", "outputs", "step"
SIDES = (INPUTS, OUTPUTS)


class BadReference(Exception):
    """A text that is no reference; its message says why."""


@dataclass(frozen=True)
class TensorReference:
    """What goes into or comes out of a step or a pipeline: all its tensors, or one of them."""

    owner: str
    """A step; or a pipeline, where it is None that ``step`` names."""
    side: str
    tensor: str | None = None
    step: str | None = None
    """The step of another pipeline, ``owner``."""

    @property
    def key(self) -> str:
        """The reference without its tensor, as the keys of ``tensorMap`` begin."""
        step = f".{STEP}.{self.step}" if self.step is not None else ""
        return f"{self.owner}{step}.{self.side}"


def inner_reference(text: str, pipeline: str) -> TensorReference:
    """Return a reference of a step or of the output; raise BadReference.

    A bare step means its outputs, the bare pipeline its inputs.
    """
    parts = _parts(text)
    if len(parts) == 1:
        return TensorReference(text, INPUTS if text == pipeline else OUTPUTS)
    if len(parts) > 3 or parts[1] not in SIDES:
        raise BadReference("must be of the form <step or pipeline>.(inputs|outputs)[.tensor]")
    if parts[0] == pipeline and parts[1] == OUTPUTS:
        raise BadReference("is what the pipeline gives, which no step of it can read")
    return TensorReference(parts[0], parts[1], parts[2] if len(parts) == 3 else None)


def outer_reference(text: str) -> TensorReference:
    """Return a reference to another pipeline, for ``input``; raise BadReference."""
    parts = _parts(text)
    if len(parts) > 1 and parts[1] == STEP:
        if len(parts) < 3 or len(parts) > 5 or (len(parts) > 3 and parts[3] not in SIDES):
            form = "<pipeline>.step.<step>[.(inputs|outputs)[.tensor]]"
            raise BadReference(f"must be of the form {form}")
        side = parts[3] if len(parts) > 3 else OUTPUTS
        return TensorReference(parts[0], side, parts[4] if len(parts) == 5 else None, parts[2])
    if len(parts) > 3 or (len(parts) > 1 and parts[1] not in SIDES):
        raise BadReference("must be of the form <pipeline>.(inputs|outputs|step.<step>)[.tensor]")
    side = parts[1] if len(parts) > 1 else OUTPUTS
    return TensorReference(parts[0], side, parts[2] if len(parts) == 3 else None)


def _parts(text: str) -> list[str]:
    parts = text.strip().split(".")
    if not all(parts):
        raise BadReference("is empty, or has an empty part")
    return parts
