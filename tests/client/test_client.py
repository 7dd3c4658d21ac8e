"""The client against a real HTTP server that answers what each test scripts."""

import json
import re
import threading
from collections import deque
from http.server import ThreadingHTTPServer
from math import inf
from urllib.parse import parse_qs, urlsplit

import pytest

from anabranch.client import waits
from anabranch.client.client import ControlClient
from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.client.http import EngineUnreachable
from anabranch.errors import (
    AnabranchError,
    Conflict,
    DeployError,
    EngineError,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from tests.handlers import QuietHandler


class Scripted(ThreadingHTTPServer):
    """Gives the scripted answers one after the other, the last one for ever.

    ``None`` closes the connection amid the body of the request.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = deque()
        self.seen = []
        self.clients = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def will(self, *answers):
        self.answers.extend(answers)


class Handler(QuietHandler):
    def answer(self):
        answers = self.server.answers
        found = answers.popleft() if len(answers) > 1 else answers[0]
        if found is None:
            self.rfile.read(1)
            self.close_connection = True
            return
        status, content = found
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.command, self.path, self.headers["authorization"], body))
        self.server.clients.append(self.client_address)
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = answer


@pytest.fixture
def server():
    with Scripted() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """A machine that is busy for seconds changes nothing of what a wait says."""
    monkeypatch.setattr(waits, "QUIET_S", inf)


@pytest.fixture
def client(server):
    with ControlClient(server.url, "a-token") as client:
        yield client


def revision(state, reason=""):
    return 200, {"revision": 3, "state": state, "reason": reason}


def test_a_deploy_sends_bundle_author_message_and_token(server, client):
    server.will((202, {"graph": "g", "revision": 3, "state": "pending"}))
    assert client.deploy("g", b"zip", author="me", message="a b")["revision"] == 3
    path = "/control/v1/graphs/g/revisions?author=me&message=a+b"
    assert server.seen == [("POST", path, "Bearer a-token", b"zip")]


RESTARTING = (503, {"error": "the controller is restarting"})


def test_a_deploy_is_sent_again_where_the_controller_restarts(server, client, monkeypatch):
    monkeypatch.setattr(waits, "AGAIN_S", 0.01)
    server.will(None, RESTARTING, RESTARTING, (202, {"revision": 3, "new": True}))
    bundle, said = bytes(8 * 2**20), []
    assert client.deploy("g", bundle, say=said.append) == {"revision": 3, "new": True}
    assert [body == bundle for *_, body in server.seen] == [True] * 3
    broken, *others = said
    assert "sending the bundle of g again: the engine at http" in broken
    assert others == ["sending the bundle of g again: the controller is restarting"] * 2


@pytest.mark.parametrize("options", [{"force": True}, {"timeout": -1.0}])
def test_a_deploy_that_would_be_made_twice_or_is_too_late_is_sent_once(server, client, options):
    server.will(RESTARTING)
    said = []
    with pytest.raises(Unavailable, match=r"^the controller is restarting$"):
        client.deploy("g", b"zip", say=said.append, **options)
    assert (len(server.seen), said) == (1, [])


def test_a_deploy_that_is_refused_or_has_no_engine_is_sent_once(server, client):
    server.will((400, {"error": "no spec"}))
    said = []
    with pytest.raises(InvalidRequest, match=r"^no spec$"):
        client.deploy("g", b"zip", say=said.append)
    with ControlClient("http://127.0.0.1:9", "t") as nobody, pytest.raises(EngineUnreachable):
        nobody.deploy("g", b"zip", say=said.append)
    assert (len(server.seen), said) == (1, [])


@pytest.mark.parametrize(
    ("call", "request_line", "answer", "expected"),
    [
        (lambda c: c.graphs(), "GET /control/v1/graphs", {"graphs": [{}]}, [{}]),
        (lambda c: c.graph("g"), "GET /control/v1/graphs/g", {"live": 1}, {"live": 1}),
        (lambda c: c.graph("a/../b"), "GET /control/v1/graphs/a%2F..%2Fb", {}, {}),
        (lambda c: c.graph("g", 5), "GET /control/v1/graphs/g?limit=5", {"live": 1}, {"live": 1}),
        (lambda c: c.history("g", 5), "GET /control/v1/graphs/g/revisions?limit=5",
         {"revisions": [{}]}, {"revisions": [{}]}),
        (lambda c: c.traffic("g"), "GET /control/v1/graphs/g/traffic", {"live": 1}, {"live": 1}),
        (lambda c: c.rollout("g"), "GET /control/v1/graphs/g/rollout", {"step": 1}, {"step": 1}),
        (lambda c: c.compare("g"), "GET /control/v1/graphs/g/compare", {"live": 1}, {"live": 1}),
        (lambda c: c.revision("g", 2), "GET /control/v1/graphs/g/revisions/2", {}, {}),
        (lambda c: c.diff("g", 1, 2), "GET /control/v1/graphs/g/revisions/2/diff?from=1",
         {"text": ""}, {"text": ""}),
        (lambda c: c.delete("g"), "DELETE /control/v1/graphs/g", {}, None),
        (
            lambda c: c.logs("g", 7, node="n", revision=2, after="1:5", machine="m"),
            "GET /control/v1/graphs/g/logs?tail=7&after=1%3A5&node=n&revision=2&machine=m",
            {"lines": [], "cursor": "1:9"},
            {"lines": [], "cursor": "1:9"},
        ),
        (lambda c: c.events("g", 5), "GET /control/v1/events?after=5&graph=g", {"events": []}, []),
        (lambda c: c.events(), "GET /control/v1/events?after=0", {"events": []}, []),
        (lambda c: c.events("g", 5, {"kind": "x", "actor": None}),
         "GET /control/v1/events?after=5&graph=g&kind=x", {"events": []}, []),
        (lambda c: c.newest_events(None, 3, {"revision": 2}),
         "GET /control/v1/events?newest=3&revision=2", {"events": []}, []),
        (lambda c: c.kept(), "GET /control/v1/kept", {"kept": [{}]}, [{}]),
        (lambda c: c.verify_events(), "GET /control/v1/events/verify", {"verified": 1},
         {"verified": 1}),
        (lambda c: c.verify_events("ab"), "GET /control/v1/events/verify?hash=ab", {}, {}),
        (lambda c: c.metadata("g"), "GET /v2/models/g", {"name": "g"}, {"name": "g"}),
        (lambda c: c.metadata("a/g"), "GET /v2/models/a/g", {"name": "a/g"}, {"name": "a/g"}),
        (lambda c: c.infer("g", {}), "POST /v2/models/g/infer", {"outputs": []}, {"outputs": []}),
    ],
)  # fmt: skip
def test_endpoints(server, client, call, request_line, answer, expected):
    server.will((200, answer))
    assert call(client) == expected
    ((method, path, _, _),) = server.seen
    assert f"{method} {path}" == request_line


def test_a_deploy_sends_what_it_is_for(server, client):
    server.will((202, {"graph": "g", "revision": 3, "state": "pending"}))
    client.deploy("g", b"zip", intent={"kind": "canary", "percent": 2.5})
    ((_, path, _, _),) = server.seen
    (text,) = parse_qs(urlsplit(path).query)["intent"]
    assert json.loads(text) == {"kind": "canary", "percent": 2.5}


@pytest.mark.parametrize(
    ("call", "request_line", "body"),
    [
        (lambda c: c.set_traffic("g", {3: 90, 4: 0.5}), "PUT traffic",
         {"weights": {"3": 90, "4": 0.5}}),
        (lambda c: c.set_traffic("g", mirrors={5: 25}), "PUT traffic", {"mirrors": {"5": 25}}),
        (lambda c: c.set_traffic("g", {3: 1}, {5: 0}), "PUT traffic",
         {"weights": {"3": 1}, "mirrors": {"5": 0}}),
        (lambda c: c.promote("g"), "POST promote", {}),
        (lambda c: c.promote("g", 4), "POST promote", {"revision": 4}),
        (lambda c: c.abort("g"), "POST abort", {}),
        (lambda c: c.rollback("g"), "POST rollback", {}),
        (lambda c: c.rollback("g", 3), "POST rollback", {"to": 3}),
        (lambda c: c.move_rollout("g", "pause"), "POST rollout/pause", {}),
    ],
)  # fmt: skip
def test_what_moves_traffic(server, client, call, request_line, body):
    server.will((200, {"live": 3}))
    assert call(client) == {"live": 3}
    ((method, path, token, sent),) = server.seen
    below = path.removeprefix("/control/v1/graphs/g/")
    assert (f"{method} {below}", token) == (request_line, "Bearer a-token")
    assert json.loads(sent) == body


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (409, Conflict),
        (401, EngineError),
        (404, NotFound),
        (500, AnabranchError),
        (501, DeployError),
        (503, Unavailable),
        (418, AnabranchError),
    ],
)
def test_errors_are_in_the_words_of_the_engine(server, client, status, error):
    server.will((status, {"error": "the engine's words"}))
    with pytest.raises(error, match=r"^the engine's words$"):
        client.graphs()


def test_what_a_proxy_answers_is_named_by_its_status(server, client):
    server.will((502, "Bad Gateway"), (404, "nothing here"), (200, "not JSON"), (200, [1]))
    with pytest.raises(Unavailable, match="answered 502"):
        client.graphs()
    with pytest.raises(EngineError, match="answered 404"):
        client.graphs()
    for _ in range(2):
        with pytest.raises(EngineError, match="JSON object"):
            client.graphs()


def test_an_engine_that_is_gone_is_said_to_be(server):
    server.server_close()
    with ControlClient(server.url, "token") as client, pytest.raises(EngineError, match="still up"):
        client.graphs()


def test_waiting_tells_of_every_state_and_ends_with_live(server, client):
    server.will(revision("pending"), revision("deploying"), revision("deploying"), revision("live"))
    said = []
    assert client.wait("g", 3, 30, said.append)["state"] == "live"
    assert said == ["g revision 3 is pending", "g revision 3 is deploying"]


def test_waiting_tells_what_a_revision_waits_for_once(server, client):
    waits = revision("deploying", "waits for 1 GPU for segment 'a': no machine has it")
    away = (503, {"error": "the controller is restarting"})
    server.will(revision("deploying"), waits, waits, away, waits, revision("live"))
    said = []
    assert client.wait("g", 3, 30, said.append)["state"] == "live"
    told = "g revision 3 is deploying; it waits for 1 GPU for segment 'a': no machine has it"
    assert said == ["g revision 3 is deploying", told]


def test_a_deploy_without_news_says_what_it_does(server, client, monkeypatch):
    monkeypatch.setattr(waits, "QUIET_S", 0.0)
    installing = (200, revision("deploying")[1] | {"installing": True})
    steps = [
        {"logger": "anabranch.graph.loading", "message": "constructing node net"},
        {"logger": "anabranch.graph.loading", "message": "loading node net"},
        {"logger": "stdout", "message": "epoch 3"},
    ]
    logs = (200, {"lines": steps, "cursor": ""})
    denied = (403, {"error": "needs the role viewer"})
    deploying = revision("deploying")
    server.will(
        deploying, installing, deploying, (200, {"lines": [], "cursor": ""}), deploying, denied,
        deploying, logs, revision("live"),
    )  # fmt: skip
    said = []
    assert client.wait("g", 3, 30, said.append)["state"] == "live"
    head, *rest = [re.sub(r"\d+ s", "<time>", text) for text in said]
    assert head == "g revision 3 is deploying"
    assert rest == [
        f"{head} (<time>): installing requirements.txt",
        f"{head} (<time>)",
        f"{head} (<time>)",
        f"{head} (<time>): loading node net",
    ]
    (path,) = {path for _, path, _, _ in server.seen if "/logs" in path}
    assert path == "/control/v1/graphs/g/logs?tail=200&revision=3"


def test_running_out_of_time_says_what_a_revision_waits_for(server, client):
    server.will(revision("deploying", "waits for 1 GPU for segment 'a': no machine has it"))
    with pytest.raises(DeployError, match="after 0 s, is deploying; it waits for 1 GPU for segm"):
        client.wait("g", 3, 0, lambda text: None)


def rollout(phase, step=1, revision=3, reason=""):
    return 200, {
        "revision": revision, "phase": phase, "step": step, "steps": [5, 50], "reason": reason,
    }  # fmt: skip


def test_waiting_for_a_rollout_tells_of_every_change_and_ends_with_its_promotion(server, client):
    unwell = 503, {"error": "the controller is away"}
    server.will(
        rollout("running"), rollout("running"), unwell, rollout("paused"), rollout("running", 2),
        rollout("promoted", 2),
    )  # fmt: skip
    said = []
    assert client.until_rolled_out("g", 30, said.append)["phase"] == "promoted"
    assert [(one["phase"], one["step"]) for one in said] == [
        ("running", 1), ("paused", 1), ("running", 2), ("promoted", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "error", "text"),
    [
        ([rollout("aborted", reason="too many errors")], DeployError,
         "the rollout of g revision 3 was aborted: too many errors"),
        ([rollout("running"), rollout("running", revision=4)], DeployError,
         "the rollout of g revision 3 is over: that of revision 4 has begun"),
        ([rollout("running", 2)], EngineError, "is not over after 0.3 s, in step 2 of 2; it goes"),
        ([(404, {"error": "no rollout"})], NotFound, "no rollout"),
    ],
)  # fmt: skip
def test_waiting_for_a_rollout_that_does_not_end_well(server, client, answers, error, text):
    server.will(*answers)
    with pytest.raises(error, match=text):
        client.until_rolled_out("g", 0.3)


@pytest.mark.parametrize("state", ["live", "ready", "warm"])
def test_waiting_ends_with_whatever_is_up(server, client, state):
    server.will(revision("deploying"), revision(state))
    assert client.wait("g", 3, 30, lambda text: None)["state"] == state


def test_waiting_ends_only_once_the_edge_knows_the_graph(server, client):
    unknown = (503, {"error": "graph 'g' cannot answer now: it has no router yet"})
    known = (200, {"name": "g", "ready": True})
    server.will(revision("live"), unknown, unknown, known)
    assert client.wait("g", 3, 30)["state"] == "live"
    assert [path for _, path, _, _ in server.seen[1:]] == ["/v2/models/g/ready"] * 3
    assert len(set(server.clients[1:])) == 3


def test_of_many_graphs_each_is_asked_for_until_all_are_known(server, client):
    unknown, known = (503, {"error": "no router yet"}), (200, {"ready": True})
    server.will(known, unknown, (404, {"error": "deleted"}))
    client.until_reached("a", "b")
    asked = [path.split("/")[3] for _, path, _, _ in server.seen]
    assert asked == ["a", "b", "b"]


def test_a_revision_that_is_down_again_is_a_failure(server, client):
    server.will(revision("retired", "the graph was deleted"))
    with pytest.raises(DeployError, match="g revision 3 retired: the graph was deleted"):
        client.wait("g", 3, 30)


def test_waiting_survives_a_restart_of_the_controller(server, client):
    restarting = (503, {"error": "the controller is restarting"})
    server.will(revision("deploying"), restarting, (500, "proxy"), revision("live"))
    said = []
    assert client.wait("g", 3, 30, said.append)["state"] == "live"
    assert said == ["g revision 3 is deploying"]


def test_a_failure_gives_the_reason(server, client):
    server.will(revision("failed", "node 'net': no such file"))
    with pytest.raises(DeployError, match="g revision 3 failed: node 'net': no such file"):
        client.wait("g", 3, 30)


def test_running_out_of_time_says_that_the_deploy_goes_on(server, client):
    server.will(revision("deploying"))
    with pytest.raises(DeployError, match=r"goes on: look at it with `anabranch status g`"):
        client.wait("g", 3, 0, lambda text: None)


def test_running_out_of_time_while_the_engine_is_away(server, client):
    server.will((503, {"error": "restarting"}))
    with pytest.raises(Unavailable, match="restarting"):
        client.wait("g", 3, 0)


def test_waiting_until_a_graph_is_gone(server, client):
    server.will((200, {}), (503, {"error": "restarting"}), (404, {"error": "no graph 'g'"}))
    client.wait_gone("g", 30)
    assert len(server.seen) == 3


def test_a_graph_that_stays_is_an_error(server, client):
    server.will((200, {}))
    with pytest.raises(EngineError, match="g is not deleted after 0 s"):
        client.wait_gone("g", 0)


def test_home_without_engine_and_home_without_token(tmp_path):
    with pytest.raises(EngineError, match=f"no engine is running in {tmp_path}"):
        ControlClient.of_home(tmp_path)
    write_state(tmp_path, EngineState("id", "http://127.0.0.1:1", "", "", "", "", 1, ready=True))
    with pytest.raises(EngineError, match="token"):
        ControlClient.of_home(tmp_path)


def test_url_and_token_come_from_the_home(tmp_path, server):
    write_state(tmp_path, EngineState("id", server.url, "", "", "", "", 1, ready=True))
    (tmp_path / "token").write_text("from-the-home\n")
    server.will((200, {"graphs": []}))
    with ControlClient.of_home(tmp_path) as client:
        client.graphs()
    assert server.seen[0][2] == "Bearer from-the-home"
