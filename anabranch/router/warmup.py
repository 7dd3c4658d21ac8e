"""Warm-up of a head: evaluates an example, so that the first request finds all loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from anabranch.components.contract import Context
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import AnabranchError, DeployError, InvalidRequest
from anabranch.graph.plan.plan import Plan
from anabranch.router.inference.contract import Array, Head, InferenceRequest
from anabranch.router.inference.core import InferenceCore
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.decode import decode_request
from anabranch.specs.models import InputSpec, Warmup


async def warm_up(head: Head, plan: Plan, warmup: Warmup, root: Path) -> None:
    """Evaluate the requests of ``warmup`` by ``head``, one after the other.

    ``root`` is the folder of the spec. There is no deadline: the first request may have to wait
    until the graph's other segments have loaded their models. Raises DeployError, with the node or
    the file that is to blame.
    """
    try:
        request = _request(plan.inputs, warmup, root)
        InferenceCore(plan.name, plan.signature, head, 0, RequestLimits()).check(request)
        for _ in range(warmup.requests):
            await head.run(
                request.inputs, Context("warmup", is_traffic=False), request.outputs or None
            )
    except AnabranchError as error:
        raise DeployError(f"warmup: {error}") from None


def _request(inputs: Mapping[str, InputSpec], warmup: Warmup, root: Path) -> InferenceRequest:
    if warmup.data is None:
        return InferenceRequest({n: _zeros(spec, warmup.rows) for n, spec in inputs.items()})
    try:
        body = (root / warmup.data).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"data {warmup.data!r} cannot be read: {error.strerror}") from None
    return decode_request(body, RequestLimits())


def _zeros(spec: InputSpec, rows: int) -> Array:
    """A tensor of zeros, or of empty texts; dimensions that may have any size get ``rows``."""
    shape = tuple(rows if size < 0 else size for size in spec.tensor.shape)
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, to_dtype(spec.datatype))
