"""Reads the intent of a deploy from its request and from the ``rollout`` block of its spec."""

from __future__ import annotations

from typing import Any, Literal

from anabranch.control.api.endpoints import checked, read_json, refuse
from anabranch.control.lifecycle.operations import Intent
from anabranch.errors import InvalidRequest
from anabranch.specs.models import Model, Percent, Rollout
from anabranch.specs.sections.rollout import rollout_rules

_WHAT = "the intent"


class _Wanted(Model):
    kind: Literal["replace", "canary", "mirror", "rollout"]
    percent: Percent | None = None
    """Of the traffic for a canary, of the copies for a mirror."""
    rollout: dict[str, Any] | None = None
    """Fields that stand in for those of the spec's block."""


def read_intent(text: str | None, block: Rollout | None) -> Intent:
    """The intent of a deploy; ``text`` is JSON of it, and None leaves it to the spec's block.

    A rollout takes from the block whatever it does not say itself. InvalidRequest lists all that
    is wrong.
    """
    if text is None:
        return Intent.of(block)
    wanted = checked(read_json(text, _WHAT), _Wanted, _WHAT)
    _refuse_strangers(wanted)
    if wanted.kind == "rollout":
        return Intent("rollout", rollout=_rollout(wanted.rollout, block))
    return Intent(wanted.kind, 100.0 if wanted.percent is None else wanted.percent)


def _refuse_strangers(wanted: _Wanted) -> None:
    if wanted.percent is not None and wanted.kind not in ("canary", "mirror"):
        raise InvalidRequest(f"percent: is of a canary or a mirror, not of a {wanted.kind}")
    if wanted.rollout is not None and wanted.kind != "rollout":
        raise InvalidRequest(f"rollout: says nothing to a {wanted.kind}")


def _rollout(given: dict[str, Any] | None, block: Rollout | None) -> Rollout:
    written = {} if block is None else block.model_dump(mode="json", exclude_defaults=True)
    data = {**written, **(given or {})}
    if "steps" not in data:
        raise InvalidRequest(
            "a rollout needs steps: give them, or write a `rollout` block into the spec"
        )
    plan = checked(data, Rollout, "rollout", ("rollout",))
    refuse("rollout", [(("rollout", *path), text) for path, text in rollout_rules(data)])
    return plan
