"""A request that a revision takes: that of its warm-up, or else one made of zeros."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Revision
from anabranch.router.http.openapi import request_example
from anabranch.router.inference.contract import TensorMetadata

MAX_BYTES = 256 * 2**10
"""Largest request that is given out as an example, in bytes of JSON."""


def example(releases: Releases, revision: Revision) -> dict[str, Any]:
    """``{"source": "warmup" or "zeros", "request": an inference request in JSON}``.

    The request is None where one of zeros would be too large to be of use.
    """
    loaded = releases.loaded(revision)
    warmup = loaded.graph.spec.warmup
    if warmup is not None and warmup.data is not None:
        request = _json(releases.member(revision, str(PurePosixPath(warmup.data))))
        if request is not None:
            return {"source": "warmup", "request": request}
    types = {name: spec.tensor for name, spec in loaded.plan.inputs.items()}
    inputs = [TensorMetadata(name, one.datatype, one.shape) for name, one in types.items()]
    return {"source": "zeros", "request": request_example(inputs)}


def _json(content: bytes | None) -> Any:
    """The document in a file; None where it is missing, too large, or not JSON alone."""
    if content is None or len(content) > MAX_BYTES:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
