"""Sends one request many times, for ``infer --repeat``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from anabranch.errors import AnabranchError

Json = dict[str, Any]


def repeated(send: Callable[[], Json], times: int) -> Json:
    """Call ``send`` one time after the other, and return who answered and how fast.

    The result is ``{"requests", "failed", "errors", "replies"}``: ``errors`` counts failures by
    message, and each of ``replies`` has ``id``, ``revision``, ``ms`` and ``outputs``.
    """
    replies: list[Json] = []
    errors: Counter[str] = Counter()
    for _ in range(times):
        begun = time.perf_counter()
        try:
            answer = send()
        except AnabranchError as error:
            errors[str(error)] += 1
            continue
        replies.append(
            {
                "id": answer.get("id"),
                "revision": answer.get("model_version"),
                "ms": round(1000 * (time.perf_counter() - begun), 3),
                "outputs": answer.get("outputs", []),
            }
        )
    failed = errors.total()
    return {"requests": times, "failed": failed, "errors": dict(errors), "replies": replies}
