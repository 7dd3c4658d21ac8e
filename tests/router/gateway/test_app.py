from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import httpx
import pytest

from anabranch.access.identity import Asker
from anabranch.errors import InvalidRequest, Unavailable
from anabranch.router.addresses import Addresses
from anabranch.router.backend import GraphState
from anabranch.router.errors import Headers
from anabranch.router.gateway.app import Gateway
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.limits import RequestLimits
from anabranch.telemetry.definitions import ACCESS_REFUSED, ARM_REQUESTS
from anabranch.telemetry.registry import REGISTRY, Registry, Snapshot
from tests.router.askers import LetsIn

Serve = Callable[[Any], str]


class Control(LetsIn):
    """A control plane that knows two graphs and repeats what it is asked, whoever asks."""

    anonymous = ("admin",)

    def __init__(self, ready: bool = True) -> None:
        self.counted = Registry()
        self.answer = 201
        self.states: dict[str, GraphState] = {
            "digits": {"revision": 4, "live": True, "ready": True, "reason": ""},
            "spam": {
                "revision": 1,
                "live": True,
                "ready": ready,
                "reason": "" if ready else "loading",
            },
        }

    async def graphs(self) -> Mapping[str, GraphState]:
        return self.states

    async def addresses(self, version: int) -> Addresses:
        return Addresses(1)

    async def wake(self, graph: str) -> None:
        raise AssertionError(graph)

    async def metrics(self) -> Snapshot:
        return self.counted.snapshot()

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        if path == "/refuse":
            raise InvalidRequest("refused")
        text = f"{method} {path} {query} {len(body)}"
        return self.answer, ((b"content-type", b"text/plain"), (b"x-more", b"1")), text.encode()


class Down(Control):
    async def metrics(self) -> Snapshot:
        raise Unavailable("the controller does not answer", 3)

    async def graphs(self) -> Mapping[str, GraphState]:
        raise Unavailable("the controller does not answer", 3)


def gateway(control: Control | None = None, told: bool = True, **settings: Any) -> Gateway:
    """A gateway that has been told where routers are, or has not."""
    control = control or Control()
    forwarder = Forwarder(control, RequestLimits())
    app = Gateway(control, RequestLimits(), forwarder, **settings)

    if told:
        asyncio.run(forwarder._follower.step())
    return app


def message(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"]
    return str(response.json()["error"])


def test_server_metadata(serve: Serve) -> None:
    url = serve(gateway())
    for path in ("/v2", "/v2/"):
        assert httpx.get(url + path).json() == {
            "name": "anabranch",
            "version": version("anabranch"),
            "extensions": ["binary_tensor_data", "generate", "model_repository", "parameters"],
        }


def test_metrics_come_in_the_format_that_is_asked_for(serve: Serve) -> None:
    control = Control()
    control.counted.number(ARM_REQUESTS, "digits", "4").value = 7
    url = f"{serve(gateway(control))}/metrics"
    line = 'anabranch_arm_requests_total{graph="digits",revision="4"} 7.0\n'
    classic = httpx.get(url, headers={"accept": "text/plain"})
    assert classic.status_code == 200 and line in classic.text
    assert classic.headers["content-type"].startswith("text/plain; version=0.0.4")
    open_metrics = httpx.get(url, headers={"accept": "application/openmetrics-text"})
    assert line in open_metrics.text and open_metrics.text.endswith("# EOF\n")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert httpx.post(url).status_code == 405


def test_without_a_control_plane_there_are_no_metrics(serve: Serve) -> None:
    response = httpx.get(f"{serve(gateway(Down()))}/metrics")
    assert message(response, 503) == "the controller does not answer"


def test_live_and_ready(serve: Serve) -> None:
    url = serve(gateway())
    assert httpx.get(f"{url}/v2/health/live").json() == {"live": True}
    assert httpx.get(f"{url}/v2/health/ready").json() == {"live": True, "ready": True}
    assert httpx.head(f"{url}/v2/health/ready").status_code == 200


BROWSER = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [BROWSER, "application/json, TEXT/HTML ;q=0.5"])
def test_the_root_leads_a_browser_to_the_console(serve: Serve, accept: str) -> None:
    url = serve(gateway())
    reply = httpx.get(f"{url}/", headers={"accept": accept})
    assert (reply.status_code, reply.headers["location"]) == (307, "console/")
    assert reply.headers["vary"] == "accept"
    landed = httpx.get(f"{url}/", headers={"accept": accept}, follow_redirects=True)
    assert landed.url.path == "/console/" and "<title>anabranch</title>" in landed.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/*", ""])
def test_the_root_has_nothing_for_other_clients(serve: Serve, accept: str) -> None:
    url = serve(gateway())
    message(httpx.get(f"{url}/", headers={"accept": accept}), 404)
    message(httpx.post(f"{url}/", headers={"accept": BROWSER}), 404)


def test_not_ready_while_a_graph_is_not(serve: Serve) -> None:
    url = serve(gateway(Control(ready=False)))
    response = httpx.get(f"{url}/v2/health/ready")
    assert message(response, 503) == "graphs are not ready: spam (loading)"
    assert response.headers["retry-after"]
    assert httpx.get(f"{url}/v2/health/live").status_code == 200


def test_a_graph_on_its_way_to_its_first_revision_does_not_count(serve: Serve) -> None:
    control = Control(ready=False)
    control.states["spam"]["live"] = False
    response = httpx.get(f"{serve(gateway(control))}/v2/health/ready")
    assert response.status_code == 200


def test_live_but_not_ready_without_a_control_plane(serve: Serve) -> None:
    url = serve(gateway(Down(), told=False))
    assert httpx.get(f"{url}/v2/health/live").status_code == 200
    assert message(httpx.get(f"{url}/v2/health/ready"), 503) == "the controller does not answer"


def test_what_knows_its_routers_is_ready_while_the_controller_is_away(serve: Serve) -> None:
    """A load balancer must not give up an edge that goes on."""
    url = serve(gateway(Down()))
    assert httpx.get(f"{url}/v2/health/ready").json() == {"live": True, "ready": True}


SPAM = {"name": "spam", "version": "1", "state": "UNAVAILABLE", "reason": "loading"}
DIGITS = {"name": "digits", "version": "4", "state": "READY", "reason": ""}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", [DIGITS, SPAM]),
        (b"{}", [DIGITS, SPAM]),
        (b'{"ready": false}', [DIGITS, SPAM]),
        (b'{"ready": true, "other": 1}', [DIGITS]),
    ],
)
def test_the_repository_index(serve: Serve, body: bytes, expected: list[dict[str, str]]) -> None:
    url = serve(gateway(Control(ready=False)))
    assert httpx.post(f"{url}/v2/repository/index", content=body).json() == expected


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": 1}', b"\xff", b"[" * 60_000])
def test_a_malformed_index_request(serve: Serve, body: bytes) -> None:
    url = serve(gateway())
    message(httpx.post(f"{url}/v2/repository/index", content=body), 400)


def test_an_unknown_graph_is_answered_with_those_there_are(serve: Serve) -> None:
    url = serve(gateway())
    told = message(httpx.post(f"{url}/v2/models/digit/infer", json={}), 404)
    assert told == "there is no graph 'digit' (did you mean 'digits'? available: digits, spam)"
    message(httpx.get(f"{url}/v2/models/{'a' * 5000}"), 404)
    message(httpx.get(f"{url}/v2/models/"), 404)


def test_a_path_that_a_graph_has_not_may_name_another_graph(serve: Serve) -> None:
    url = serve(gateway())
    told = message(httpx.post(f"{url}/v2/models/digits/infre", json={}), 404)
    assert told.startswith("there is no graph 'digits/infre' (")
    assert told.endswith("; graph 'digits' has a path '/infer'")


def test_no_graph_at_all(serve: Serve) -> None:
    control = Control()
    control.states.clear()
    url = serve(gateway(control))
    told = message(httpx.get(f"{url}/v2/models/digits/ready"), 404)
    assert told == "there is no graph 'digits' (no graph is deployed)"
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200


def test_a_graph_that_is_not_live_yet_is_unavailable_not_unknown(serve: Serve) -> None:
    url = serve(gateway(Control(ready=False)))
    told = message(httpx.get(f"{url}/v2/models/spam/ready"), 503)
    assert told == "graph 'spam' cannot answer now: loading"


@pytest.mark.parametrize("path", ["/", "/v2/health", "/v2/nothing", "/control", "/favicon.ico"])
def test_any_other_path_is_a_json_404(serve: Serve, path: str) -> None:
    message(httpx.get(serve(gateway()) + path), 404)


class Repository(Control):
    """Loads and unloads; what is being loaded is ready at the third look."""

    secret = "t"
    anonymous = ()

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.looks = 0

    async def graphs(self) -> Mapping[str, GraphState]:
        self.looks += 1
        self.states["spam"]["ready"] = self.looks > 2
        return self.states

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        self.asked.append(f"{method} {path}")
        known = path.removeprefix("/graphs/").rpartition("/")[0] in self.states
        return (202, (), b"{}") if known else (404, (), b'{"error":"no graph"}')


def repository(url: str, path: str, **request: Any) -> httpx.Response:
    headers = {"authorization": "Bearer t"} | request.pop("headers", {})
    return httpx.post(f"{url}/v2/repository/models/{path}", headers=headers, **request)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"parameters": {"unload_dependents": false}}'])
def test_graphs_are_loaded_and_unloaded(
    serve: Serve, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.router.gateway.repository._LOOK_S", 0.001)
    control = Repository()
    control.states["team/digits"] = control.states["digits"]
    url = serve(gateway(control))
    for path in ("digits/unload", "spam/load", "team/digits/unload", "team%2Fdigits/load"):
        reply = repository(url, path, content=body)
        assert (reply.status_code, reply.json()) == (200, {})
    assert control.asked == [
        "POST /graphs/digits/unload",
        "POST /graphs/spam/load",
        "POST /graphs/team/digits/unload",
        "POST /graphs/team/digits/load",
    ]
    assert control.looks == 4


@pytest.mark.parametrize(
    ("path", "request_", "status"),
    [
        ("spam/load", {"headers": {"authorization": "Bearer x"}}, 401),
        ("spam/load", {"content": b'{"parameters": {"config": "{}"}}'}, 400),
        ("spam/load", {"content": b"["}, 400),
        ("ham/unload", {}, 404),
        ("ham%2Fx/unload", {}, 404),
        ("spam/reload", {}, 404),
        ("spam", {}, 404),
        ("spam/traffic/load", {}, 404),
        ("spam/a/b/load", {}, 404),
        ("/load", {}, 404),
        ("load", {}, 404),
        ("", {}, 404),
    ],
)
def test_what_cannot_be_loaded(serve: Serve, path: str, request_: Any, status: int) -> None:
    control = Repository()
    assert repository(serve(gateway(control)), path, **request_).status_code == status
    assert status == 404 or control.asked == []


def test_loading_does_not_wait_for_ever(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.router.gateway.repository._LOOK_S", 0.001)
    monkeypatch.setattr("anabranch.router.gateway.repository.LOOKS", 2)
    control = Repository()
    control.states["spam"]["reason"] = "its router starts"
    told = message(repository(serve(gateway(control)), "spam/load"), 503)
    assert told == "graph 'spam' is not ready yet: its router starts"
    url = serve(gateway())
    assert httpx.get(f"{url}/v2/repository/models/spam/load").status_code == 405


def test_wrong_methods(serve: Serve) -> None:
    response = httpx.get(f"{serve(gateway())}/v2/repository/index")
    message(response, 405)
    assert response.headers["allow"] == "POST"


def test_the_control_api_gets_what_was_sent(serve: Serve) -> None:
    url = serve(gateway())
    response = httpx.put(
        f"{url}/control/v1/graphs/a?wait=1",
        content=b"12345",
        headers={"authorization": "Bearer secret"},
    )
    assert (response.status_code, response.headers["x-more"]) == (201, "1")
    assert response.headers.get_list("content-type") == ["text/plain"]
    assert response.text == "PUT /graphs/a wait=1 5"


def test_a_caller_without_the_token_is_refused_before_the_body_is_read(serve: Serve) -> None:
    url = serve(gateway(max_upload=1000))
    wrong = {"authorization": "Bearer wrong"}
    response = httpx.post(f"{url}/control/v1/x", content=b"x" * 5000, headers=wrong)
    assert response.status_code == 401


def test_refused_attempts_are_counted_by_door_and_reason(serve: Serve) -> None:
    """Not those that the control API or a router answers: they count themselves."""
    control = Control()
    url = serve(gateway(control))
    cells = [
        REGISTRY.number(ACCESS_REFUSED, *labels)
        for labels in (("http", "unauthenticated"), ("control", "unauthenticated"))
    ]
    before = [cell.value for cell in cells]
    wrong = {"authorization": "Bearer wrong"}
    for path in ("/metrics", "/v2/repository/index", "/control/v1/graphs"):
        method = "POST" if path.endswith("index") else "GET"
        message(httpx.request(method, url + path, headers=wrong), 401)
    control.answer = 401
    assert httpx.get(f"{url}/control/v1/graphs").status_code == 401
    assert [cell.value - old for cell, old in zip(cells, before, strict=True)] == [2, 1]


def test_errors_of_the_control_api_become_responses(serve: Serve) -> None:
    assert message(httpx.get(f"{serve(gateway())}/control/v1/refuse"), 400) == "refused"


def test_bodies_about_the_repository_are_small(serve: Serve) -> None:
    large = b'{"ready": true, "more": "%b"}' % (b"x" * 2**16)
    told = message(httpx.post(f"{serve(gateway())}/v2/repository/index", content=large), 413)
    assert told == "the body is over the limit of 65536 bytes"


def test_uploads_have_a_limit_of_their_own(serve: Serve) -> None:
    url = serve(gateway(max_upload=1000))
    told = message(httpx.post(f"{url}/control/v1/bundles", content=b"x" * 1001), 413)
    assert told == "the body is over the limit of 1000 bytes"


def test_no_page_of_another_origin_is_let_in(serve: Serve) -> None:
    url = serve(gateway())
    for path in ("/v2", "/control/v1/refuse"):
        for method in ("GET", "OPTIONS"):
            response = httpx.request(method, url + path, headers={"origin": "http://evil.example"})
            assert not any(name.startswith("access-control") for name in response.headers)
