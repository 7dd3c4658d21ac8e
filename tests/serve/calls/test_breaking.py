"""Circuit breakers within Serve's choice of a replica."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from ray import serve
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve._private.build_app import _has_custom_request_router
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.request_router.request_router import RequestRouter
from ray.serve.exceptions import BackPressureError

from anabranch.errors import NodeError, Unavailable
from anabranch.serve.calls.attempts import attempting, current
from anabranch.serve.calls.breaker import FAILURES, Breakers
from anabranch.serve.calls.breaking import BreakingRouter, router_options
from anabranch.specs.models import Scaling


def test_serve_still_has_the_method_in_which_a_call_gets_its_replica() -> None:
    own = inspect.signature(BreakingRouter._choose_replica_for_request)
    assert list(own.parameters) == list(
        inspect.signature(RequestRouter._choose_replica_for_request).parameters
    )


@pytest.mark.parametrize(
    ("scaling", "guarded"),
    [(None, 0), (Scaling(replicas=1), 0), (Scaling(replicas=2), 1), (Scaling(max=3), 1)],
)
def test_only_replicas_that_may_have_others_beside_them_are_guarded(
    scaling: Scaling | None, guarded: bool
) -> None:
    assert bool(router_options(scaling)) == guarded


def test_serve_takes_the_class_to_the_callers_even_for_the_first_deployment() -> None:
    options = router_options(Scaling(replicas=2))
    app = serve.deployment(name="a", **options)(object).bind()
    assert not _has_custom_request_router(app._bound_deployment)
    sent = app._bound_deployment._deployment_config.to_proto_bytes()
    config = DeploymentConfig.from_proto_bytes(sent).request_router_config
    assert config.get_request_router_class() is BreakingRouter


def died() -> Exception:
    return ActorDiedError()


def raised() -> Exception:
    found: Exception = RayTaskError(
        "f", "Traceback", Unavailable("full"), "p", 1, "h"
    ).as_instanceof_cause()
    return found


@pytest.mark.parametrize(
    ("error", "late", "outcome"),
    [
        (None, False, True),
        (died, False, False),
        (raised, False, True),
        (lambda: NodeError("a", "broken"), False, True),
        (asyncio.CancelledError, False, None),
        (asyncio.CancelledError, True, False),
    ],
)
def test_what_the_end_of_a_call_says_of_its_replica(
    error: Callable[[], BaseException] | None, late: bool, outcome: bool | None
) -> None:
    told: list[Any] = []

    class Told(Breakers):
        def ended(self, replica: str, ok: bool | None, now: float) -> None:
            told.append((replica, ok))

    async def serve() -> None:
        attempt = current()
        assert attempt is not None
        attempt.sent(Told(), "one")
        if error is not None:
            raise error()

    async def main() -> None:
        with attempting(lambda: late):
            # Serve makes a task for the choice; it inherits the context.
            await asyncio.get_running_loop().create_task(serve())

    if error is None:
        asyncio.run(main())
    else:
        with pytest.raises(BaseException):  # noqa: B017
            asyncio.run(main())
    assert told == [("one", outcome)]


def test_a_call_that_got_no_replica_says_nothing() -> None:
    with pytest.raises(BackPressureError), attempting(lambda: True):
        raise BackPressureError(3, 2)


def test_a_call_that_serve_sends_elsewhere_counts_for_the_last_replica() -> None:
    breakers = Breakers()
    for _ in range(FAILURES):
        with pytest.raises(ActorDiedError), attempting(lambda: False):
            attempt = current()
            assert attempt is not None
            attempt.sent(breakers, "refused")
            attempt.sent(breakers, "failed")
            raise died()
    assert breakers.admitted(["refused", "failed"], 0.0) == ["refused"]
