"""The gateway as a Serve deployment, and its line to the controller."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve

from anabranch.errors import Unavailable
from anabranch.router.errors import HttpReply, error_body
from anabranch.router.gateway.app import Gateway
from anabranch.router.gateway.backend import ControlAnswer, GraphState
from anabranch.router.grpc.addresses import Addresses
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.polling import POLL_S
from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.export.logs import write_logs
from anabranch.serve.workers.launcher import FORKED
from anabranch.telemetry.registry import Snapshot

GATEWAY_APP = "anabranch.gateway"
"""Has a dot, so that no graph can have the same name."""
_RETRY_AFTER = 2
_UNAUTHORIZED = HttpReply(
    401,
    error_body("the control API needs the engine's token: Authorization: Bearer <token>"),
    ((b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")),
)

logger = logging.getLogger("anabranch.serve")


def token_digest(token: str) -> str:
    """Return a digest of the token: enough to check a token, too little to make one up."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class ControllerLink:
    """The controller as the gateway sees it; it may be restarting at any time."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._controller = ControllerActor()

    async def graphs(self) -> Mapping[str, GraphState]:
        """Every graph that should be live, by name; Unavailable while the controller restarts."""
        found: Mapping[str, GraphState] = await self._call("states")
        return found

    async def addresses(self, version: int) -> Addresses:
        """Where routers answer gRPC, once that is of another version than ``version``."""
        found: Addresses = await self._call("addresses", version, timeout=POLL_S)
        return found

    async def metrics(self) -> Snapshot:
        """Return the metrics of the engine; Unavailable while the controller restarts."""
        found: Snapshot = await self._call("metrics")
        return found

    def refusal(self, headers: Mapping[str, str]) -> HttpReply | None:
        """401 for a caller without the token."""
        return None if self._let_in(headers.get("authorization", "")) else _UNAUTHORIZED

    async def handle(self, method: str, path: str, query: str, body: bytes) -> ControlAnswer:
        """Pass a request on to the control API."""
        answer: ControlAnswer = await self._call("handle", method, path, query, body)
        return answer

    def _let_in(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        same = hmac.compare_digest(token_digest(token.strip()), self._digest)
        return same and scheme.lower() == "bearer"

    async def _call(self, method: str, *args: object, timeout: float | None = None) -> Any:
        try:
            return await self._controller.call(method, *args, timeout=timeout)
        except (ray.exceptions.RayActorError, ValueError) as error:
            logger.warning("the controller does not answer: %s", error)
            raise Unavailable(
                "the controller is restarting; try again in a moment", _RETRY_AFTER
            ) from None


class GatewayReplica:
    """One replica of the gateway; it answers all that no graph's router does."""

    def __init__(self, digest: str, limits: RequestLimits, max_upload: int, loopback: bool) -> None:
        write_logs()
        link = ControllerLink(digest)
        self._gateway = Gateway(
            link, limits, max_upload=max_upload, sends_id=False, loopback=loopback
        )

    def __serve_build_asgi_app__(self) -> Gateway:
        """Serve's hook for an application that is made in the replica."""
        return self._gateway


def gateway_app(
    token: str, limits: RequestLimits, max_upload: int, loopback: bool
) -> serve.Application:
    """The gateway's Serve application, for the route prefix ``/``; see ``Gateway``."""
    decorate: Any = serve.deployment(
        name="gateway",
        ray_actor_options={"num_cpus": 0, "runtime_env": FORKED},
        max_ongoing_requests=100_000,
        max_surge_percent=100,
        rolling_update_percentage=1.0,
        graceful_shutdown_wait_loop_s=0.2,
    )
    ingress = serve.ingress()(GatewayReplica)
    return decorate(ingress).bind(  # type: ignore[no-any-return]
        token_digest(token), limits, max_upload, loopback
    )
