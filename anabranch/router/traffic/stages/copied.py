"""Stages that send copies of an arm's requests to mirrors and explainers, off the request path.

Copies are made before a request is evaluated, and sent once it is answered. Nothing is sent of a
request that is a mirror's copy itself, nor of one that streams; nor does a mirror get one of a
request whose answer was in a cache, for it has got that of the first such request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.inference.core import InferenceCore
from anabranch.router.traffic.explaining import Explainers
from anabranch.router.traffic.mirror import HEADER, Mirrors
from anabranch.router.traffic.samples import Samples
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode
from anabranch.specs.models import Compare


def mirrored(
    inner: Answering,
    draw: Callable[[], Mapping[int, InferenceCore]],
    mirrors: Mirrors,
    rule: Compare,
) -> Answering:
    """Send copies to the mirrors that are drawn."""

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        drawn = None if HEADER in request.headers else draw()
        if not drawn:
            return await inner.infer(request, encode)
        with mirrors.kept(request) as copy:
            found = await inner.infer(request, encode)
        if not found[0].is_kept:
            mirrors.send(drawn, copy, found[0], rule)
        return found

    return Answering(infer, inner.stream)


def sampled(
    inner: Answering,
    draw: Callable[[], tuple[str, ...]],
    samples: Samples,
    explainers: Explainers,
) -> Answering:
    """Send copies to the explainers that are drawn."""

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        names = draw()
        if not names or HEADER in request.headers:
            return await inner.infer(request, encode)
        with samples.kept(request) as copy:
            found = await inner.infer(request, encode)
        samples.send(explainers, names, copy)
        return found

    return Answering(infer, inner.stream)
