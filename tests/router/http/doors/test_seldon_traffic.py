"""Traffic, access, limits and metrics hold for Seldon's clients as for all others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from grpc import StatusCode

from anabranch.access.table import AccessTable
from anabranch.components.contract import Context
from anabranch.router.limits import RequestLimits
from anabranch.specs.models import Sticky, Traffic, TrafficRule
from anabranch.telemetry.definitions import REQUESTS
from anabranch.telemetry.registry import REGISTRY
from tests.access.oidc import claims, signer
from tests.access.test_jwt import HERE, keys_of
from tests.access.test_renewal import Controller, guarded
from tests.router.conftest import StepHead
from tests.router.grpc.conftest import failure
from tests.router.grpc.test_seldon import served
from tests.router.http.doors.test_seldon import PLACE, ROWS, answered, failed, predict
from tests.router.http.test_counting import Grown
from tests.router.seldon.graphs import ROUTES, doubled, seldon_app, seldon_arms
from tests.waiting import until

Serve = Callable[[Any], str]


def revision(response: httpx.Response) -> str:
    return str(answered(response)["meta"]["requestPath"]["demo"])


def test_weights_split_predictions(serve: Serve) -> None:
    arms = seldon_arms(weights={3: 90.0, 4: 10.0}, draws=[0.0, 0.95, 0.5])
    url = serve(seldon_app(arms)[0])
    assert [revision(predict(url)) for _ in range(3)] == ["demo:3", "demo:4", "demo:3"]
    tallies = arms.report()
    until(lambda: (tallies.arm(3).requests, tallies.arm(4).requests) == (2, 1))


def test_a_sticky_header_keeps_a_client_on_one_arm(serve: Serve) -> None:
    policy = Traffic(sticky=Sticky(header="x-user"))
    arms = seldon_arms(weights={3: 50.0, 4: 50.0}, table={"policy": policy})
    url = serve(seldon_app(arms)[0])
    found = {
        user: {revision(predict(url, headers={"x-user": user})) for _ in range(3)}
        for user in map(str, range(16))
    }
    assert all(len(one) == 1 for one in found.values())
    assert set.union(*found.values()) == {"demo:3", "demo:4"}


def test_rules_see_the_headers_and_the_puid(serve: Serve) -> None:
    when = "request.headers['x-beta'] == 'yes' || request.id == 'try'"
    policy = Traffic(rules=[TrafficRule(when=when, to="r4")])
    arms = seldon_arms(weights={3: 100.0, 4: 0.0}, table={"policy": policy}, draws=[0.5] * 9)
    url = serve(seldon_app(arms)[0])
    assert revision(predict(url, headers={"x-beta": "yes"})) == "demo:4"
    assert revision(predict(url, {**ROWS, "meta": {"puid": "try"}}, headers={"x-beta": "no"})) == (
        "demo:4"
    )
    assert revision(predict(url, headers={"x-beta": "no"})) == "demo:3"


def test_mirrors_get_a_copy_with_its_tags(serve: Serve) -> None:
    heads: dict[int, StepHead] = {}
    arms = seldon_arms(table={"mirrors": {4: 100.0}}, heads=heads, draws=[0.0])
    url = serve(seldon_app(arms)[0])
    assert revision(predict(url, {**ROWS, "meta": {"tags": {"a": 1}}})) == "demo:3"
    until(lambda: bool(heads[4].seen))
    assert heads[4].seen[0].tags == heads[3].seen[0].tags == {"a": 1}
    until(lambda: arms.report().mirrors[4].agreed == 1)


def test_who_may_not_call_is_told_so_in_seldons_form(serve: Serve) -> None:
    arms = seldon_arms()
    arms.guard = guarded(Controller(*keys_of(signer())))
    url = serve(seldon_app(arms)[0])
    key = {"authorization": f"Bearer {signer().token(claims(HERE))}"}
    answered(predict(url, headers=key))
    refused = predict(url)
    assert failed(refused, 401)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert failed(httpx.post(f"{url}{PLACE}/feedback", json={}, headers=key), 403)

    async def main() -> None:
        async with served(arms) as stub:
            metadata = tuple(key.items())
            message = {"data": {"ndarray": [[1, 2]]}}
            await stub("Predict", message, metadata=metadata)
            assert (await failure(stub("Predict", message))).code() is StatusCode.UNAUTHENTICATED
            error = await failure(stub("SendFeedback", {}, metadata=metadata))
            assert error.code() is StatusCode.PERMISSION_DENIED

    asyncio.run(main())


def test_a_full_graph_takes_no_more_predictions(serve: Serve) -> None:
    inside, go = threading.Event(), threading.Event()

    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        inside.set()
        await asyncio.to_thread(go.wait)
        return await doubled(inputs, context)

    url = serve(seldon_app(seldon_arms(step, limits=RequestLimits(max_ongoing=1)))[0])
    found: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: found.append(predict(url)))
    thread.start()
    assert inside.wait(30)
    refused = predict(url)
    go.set()
    thread.join()
    assert failed(refused, 503) and refused.headers["retry-after"]
    answered(found[0])


def test_the_time_of_the_graph_and_of_the_call_hold(serve: Serve) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    url = serve(seldon_app(seldon_arms(step, timeout=0.05))[0])
    assert "did not answer within 0.05s" in failed(predict(url), 504)

    async def main() -> None:
        async with served(seldon_arms(step)) as stub:
            call = stub("Predict", {"data": {"ndarray": [[1, 2]]}}, timeout=0.2)
            assert (await failure(call)).code() is StatusCode.DEADLINE_EXCEEDED

    asyncio.run(main())


def test_predictions_and_rewards_are_counted_as_such(serve: Serve, grown: Grown) -> None:
    url = serve(seldon_app(seldon_arms(routers=ROUTES))[0])
    response = answered(predict(url))
    predict(url, {})
    httpx.post(f"{url}/api/v1.0/feedback", json={"response": response})
    httpx.get(f"{url}/api/v1.0/metadata")
    httpx.get(f"{url}{PLACE}/prediction")
    assert grown() == {
        ("predictions", "http", "200"): 1,
        ("predictions", "http", "400"): 1,
        ("feedback", "http", "200"): 1,
        ("other", "http", "200"): 1,
        ("other", "http", "404"): 1,
    }


@pytest.fixture
def grown() -> Grown:
    from anabranch.telemetry.definitions import REQUESTS_IN_FLIGHT

    REGISTRY.number(REQUESTS_IN_FLIGHT, "demo")
    return Grown()


@pytest.mark.parametrize("name", ["predictions", "api", "seldon", "v1.0", "team/seldon"])
def test_any_name_of_a_graph_is_counted_alike(serve: Serve, name: str) -> None:
    url = serve(seldon_app(seldon_arms(name=name))[0])
    place = name if "/" in name else f"default/{name}"

    def counted() -> float:
        cells = REGISTRY.snapshot().get(REQUESTS.name, {})
        return cells.get((name, "predictions", "http", "200"), 0)  # type: ignore[return-value]

    before = counted()
    for path in (f"/seldon/{place}/api/v1.0/predictions", "/api/v1.0/predictions"):
        answered(httpx.post(f"{url}{path}", json=ROWS))
    until(lambda: counted() == before + 2)


def test_calls_over_grpc_are_counted_as_such(grown: Grown) -> None:
    async def main() -> None:
        async with served(seldon_arms(routers=ROUTES)) as stub:
            response = await stub("Predict", {"data": {"ndarray": [[1, 2]]}})
            del response["trailer"]
            await failure(stub("Predict", {}))
            await stub("SendFeedback", {"response": response})

    asyncio.run(main())
    assert grown() == {
        ("predictions", "grpc", "OK"): 1,
        ("predictions", "grpc", "INVALID_ARGUMENT"): 1,
        ("feedback", "grpc", "OK"): 1,
    }


def test_access_tables_are_followed() -> None:
    arms = seldon_arms()
    arms.admit_by(AccessTable(1))

    async def main() -> None:
        async with served(arms) as stub:
            error = await failure(stub("Predict", {"data": {"ndarray": [[1, 2]]}}))
            assert error.code() in (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)

    asyncio.run(main())
