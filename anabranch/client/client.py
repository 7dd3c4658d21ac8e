"""Client of an engine: the control API, and the protocol as far as the command line needs it.

The client is synchronous and imports no Ray, so that a program starts quickly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import quote

import httpx

from anabranch.client.engine_state import require_state
from anabranch.errors import (
    AnabranchError,
    Conflict,
    DeadlineExceeded,
    DeployError,
    EngineError,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unavailable,
)

CONTROL = "/control/v1"
TIMEOUT_S = 120.0
"""Longest wait for one answer, in seconds."""
_PAUSE_S = 0.1
_REACHED_S = 10.0
ROLLING = ("running", "paused")
"""Phases of a rollout that is not over."""
_UP = ("ready", "live", "warm")
_DOWN = ("failed", "retired")
_ERRORS: Mapping[int, type[AnabranchError]] = {
    400: InvalidRequest,
    401: EngineError,
    403: EngineError,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: DeployError,
    501: DeployError,
    503: Unavailable,
    504: DeadlineExceeded,
}

Json = dict[str, Any]


class ControlClient:
    """Client of the engine at ``url``, with the control token. Use it as a context manager.

    Methods return the engine's JSON. Each method raises EngineError when the engine cannot be
    reached or refuses the token, and otherwise the error of the engine's reply, with the engine's
    message. ``timeout`` bounds each request, in seconds.
    """

    def __init__(self, url: str, token: str, *, timeout: float = TIMEOUT_S) -> None:
        self._url = url
        self._http = httpx.Client(
            base_url=url,
            headers={"authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout, connect=5.0),
            trust_env=False,
        )

    @classmethod
    def of_home(cls, home: Path) -> Self:
        """Return a client of the engine of ``home``; raise EngineError if none is running there."""
        state = require_state(home)
        try:
            token = (home / "token").read_text().strip()
        except OSError as error:
            raise EngineError(f"cannot read the token of the engine: {error}") from error
        return cls(state.http, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def graphs(self) -> list[Json]:
        """Return every graph with its stable revision and state."""
        found: list[Json] = self._get(f"{CONTROL}/graphs")["graphs"]
        return found

    def graph(self, name: str, limit: int | None = None) -> Json:
        """Return one graph with its arms, mirrors, rollout, and its ``limit`` newest revisions."""
        return self._get(_graph_path(name), None if limit is None else {"limit": limit})

    def history(self, name: str, limit: int) -> Json:
        """Return the state of a graph, also of a deleted one, and its ``limit`` newest revisions.

        The ``revisions`` come newest first.
        """
        return self._get(f"{_graph_path(name)}/revisions", {"limit": limit})

    def revision(self, name: str, number: int) -> Json:
        """Return one revision with its state and, where it failed, the reason."""
        return self._get(f"{_graph_path(name)}/revisions/{number}")

    def diff(self, name: str, first: int, second: int) -> Json:
        """Return the differences between two revisions: specs, plans, files."""
        return self._get(f"{_graph_path(name)}/revisions/{second}/diff", {"from": first})

    def deploy(
        self,
        name: str,
        bundle: bytes,
        *,
        author: str = "",
        message: str = "",
        intent: Json | None = None,
        force: bool = False,
    ) -> Json:
        """Send a bundle, and return ``{"graph", "revision", "state", "new"}`` of its revision.

        A bundle of the same content as a revision with a part in the graph's traffic, or on its
        way, makes no ``new`` revision and changes nothing, unless ``force``.

        ``intent`` has a ``kind`` (replace, canary, mirror or rollout), a ``percent`` for a canary
        or a mirror, and a ``rollout`` whose fields replace those of the spec's block. Without an
        intent, the spec's block decides.
        """
        params = {"author": author, "message": message}
        if force:
            params["force"] = "1"
        if intent is not None:
            params["intent"] = json.dumps(intent)
        reply = self._send(
            "POST",
            f"{_graph_path(name)}/revisions",
            params=params,
            content=bundle,
            headers={"content-type": "application/zip"},
        )
        return _json(reply)

    def wait(
        self, name: str, number: int, timeout: float, say: Callable[[str], None] = print
    ) -> Json:
        """Wait until a revision is up and fulfils its intent, and return it.

        A revision that replaces another is live then; a canary, a mirror or the candidate of a
        rollout is ready; the state may have changed again, such as to ``warm``. An engine that
        restarts is waited for. ``say`` is called with every new state. Raise DeployError with the
        node and the reason if the revision fails, or after ``timeout`` seconds, which does not stop
        the deploy.
        """
        deadline = time.monotonic() + timeout
        last = ""
        while True:
            revision = self._try(partial(self.revision, name, number), deadline)
            state = str(revision.get("state", last))
            if state in _UP:
                self.until_reached(name)
                return revision
            if state in _DOWN:
                raise DeployError(f"{name} revision {number} {state}: {revision.get('reason')}")
            if state != last:
                say(f"{name} revision {number} is {state}")
            last = state
            if time.monotonic() > deadline:
                raise DeployError(
                    f"{name} revision {number} is not up after {timeout:g} s; the deploy goes"
                    f" on: look at it with `anabranch status {name}`"
                )
            time.sleep(_PAUSE_S)

    def traffic(self, name: str) -> Json:
        """Return the weights and mirrors of a graph, each by revision."""
        return self._get(f"{_graph_path(name)}/traffic")

    def set_traffic(
        self,
        name: str,
        weights: Mapping[int, float] | None = None,
        mirrors: Mapping[int, float] | None = None,
    ) -> Json:
        """Set the weights of arms and the percentages of mirrors, both in one change or neither.

        Like all methods that move traffic, return once the change is in force; ``routers`` of the
        reply holds the number of routers that have confirmed the change.
        """
        given = {"weights": weights, "mirrors": mirrors}
        body = {
            part: {str(number): share for number, share in shares.items()}
            for part, shares in given.items()
            if shares
        }
        return self._put(f"{_graph_path(name)}/traffic", body)

    def promote(self, name: str, revision: int | None = None) -> Json:
        """Make a revision the stable one, with all traffic; the candidate if it is None."""
        return self._post(f"{_graph_path(name)}/promote", _given(revision=revision))

    def abort(self, name: str) -> Json:
        """Give all traffic back to the stable revision."""
        return self._post(f"{_graph_path(name)}/abort")

    def rollback(self, name: str, to: int | None = None) -> Json:
        """Go back to the revision ``to``; to the previous stable revision if it is None.

        A graph that was deleted comes back, with its last stable revision if ``to`` is None.
        ``state`` of the reply is ``live`` if the revision was up, and that of a deploy if the
        revision has to start first.
        """
        return self._post(f"{_graph_path(name)}/rollback", _given(to=to))

    def rollout(self, name: str) -> Json:
        """Return the last rollout of a graph, also if it is over; raise NotFound without any."""
        return self._get(f"{_graph_path(name)}/rollout")

    def until_rolled_out(
        self, name: str, timeout: float = inf, say: Callable[[Json], None] = lambda found: None
    ) -> Json:
        """Wait until the rollout of a graph has promoted its candidate, and return the rollout.

        An engine that restarts is waited for. ``say`` is called with the rollout whenever it has
        changed. Raise DeployError if the rollout is aborted or another one begins, and
        EngineError after ``timeout`` seconds, which does not stop the rollout.
        """
        deadline = time.monotonic() + timeout
        last = self.rollout(name)
        say(last)
        while last["phase"] in ROLLING:
            if time.monotonic() > deadline:
                raise EngineError(
                    f"{_rollout_of(name, last)} is not over after {timeout:g} s, in step "
                    f"{last['step']} of {len(last['steps'])}; it goes on: look at it with "
                    f"`anabranch rollout {name}`"
                )
            time.sleep(_PAUSE_S)
            found = self._try(partial(self.rollout, name), deadline) or last
            if found["revision"] != last["revision"]:
                raise DeployError(
                    f"{_rollout_of(name, last)} is over: that of revision {found['revision']} "
                    "has begun"
                )
            if found != last:
                say(found)
            last = found
        if last["phase"] != "promoted":
            raise DeployError(f"{_rollout_of(name, last)} was {last['phase']}: {last['reason']}")
        return last

    def move_rollout(self, name: str, action: str) -> Json:
        """Pause, resume, promote or abort the rollout in progress."""
        return self._post(f"{_graph_path(name)}/rollout/{quote(action, safe='')}")

    def compare(self, name: str) -> Json:
        """Return the comparison of a graph's mirrors with its arms."""
        return self._get(f"{_graph_path(name)}/compare")

    def monitors(self, name: str) -> Json:
        """Return the findings of a graph's monitors, for revisions that are up."""
        return self._get(f"{_graph_path(name)}/monitors")

    def bandits(self, name: str) -> Json:
        """Return the states of a graph's learning routers, for revisions that are up."""
        return self._get(f"{_graph_path(name)}/bandits")

    def reset_bandits(self, name: str, router: str | None = None) -> Json:
        """Reset one learning router, or all if ``router`` is None; return as ``bandits`` does."""
        return self._post(f"{_graph_path(name)}/bandits/reset", _given(router=router))

    def delete(self, name: str) -> None:
        """Ask the engine to delete a graph; ``wait_gone`` waits for the end."""
        self._send("DELETE", _graph_path(name))

    def wait_gone(self, name: str, timeout: float) -> None:
        """Wait until a graph is deleted; raise EngineError after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self._is_there(name):
            if time.monotonic() > deadline:
                raise EngineError(
                    f"{name} is not deleted after {timeout:g} s; the deletion goes on: look at it"
                    " with `anabranch status`"
                )
            time.sleep(_PAUSE_S)

    def logs(
        self,
        name: str,
        tail: int = 100,
        after: str | None = None,
        node: str | None = None,
        revision: int | None = None,
        request_id: str | None = None,
    ) -> Json:
        """Return the last ``tail`` log lines of the graph's replicas, or those ``after`` a cursor.

        ``node``, ``revision`` and ``request_id`` filter the lines. The reply has the ``lines`` and
        a ``cursor`` for the next call.
        """
        asked = _given(tail=tail, after=after, node=node, revision=revision, request_id=request_id)
        return self._get(f"{_graph_path(name)}/logs", asked)

    def events(self, graph: str | None = None, after: int = 0) -> list[Json]:
        """Return the events with an id above ``after``, oldest first, of one graph or of all."""
        params: dict[str, str | int] = {"after": after}
        if graph is not None:
            params["graph"] = graph
        found: list[Json] = self._get(f"{CONTROL}/events", params)["events"]
        return found

    def newest_events(self, graph: str | None, count: int) -> list[Json]:
        """Return the newest ``count`` events, oldest first, of one graph or of all."""
        asked = _given(graph=graph, newest=count)
        found: list[Json] = self._get(f"{CONTROL}/events", asked)["events"]
        return found

    def metadata(self, name: str, revision: int | None = None) -> Json:
        """Return name, inputs and outputs of a graph, as the Open Inference Protocol gives them."""
        return self._get(_model_path(name, revision))

    def graph_url(self, name: str, revision: int | None = None) -> str:
        """Return the URL at which a graph, or one of its revisions, answers requests."""
        return f"{self._url}{_model_path(name, revision)}"

    def infer(
        self,
        name: str,
        body: Json,
        revision: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Send an inference request of the Open Inference Protocol, and return the reply.

        ``revision`` is the one that answers; the graph's traffic decides where it is None.
        """
        path = f"{_model_path(name, revision)}/infer"
        return _json(self._send("POST", path, json=body, headers=headers))

    def feedback(self, name: str, body: Json) -> Json:
        """Send a reward or the truth for an answer, and return whether it counts."""
        return _json(self._send("POST", f"/v2/models/{quote(name, safe='')}/feedback", json=body))

    def explain(self, name: str, body: Json) -> Json:
        """Send an inference request to an explainer, which its parameters may name."""
        return _json(self._send("POST", f"/v2/models/{quote(name, safe='')}/explain", json=body))

    def until_reached(self, *names: str) -> None:
        """Wait until requests reach the routers of graphs, of which the edge learns a moment late.

        Return after 10 s in any case, since a graph may refuse requests for other reasons.
        """
        deadline = time.monotonic() + _REACHED_S
        while not all(map(self._is_reached, names)):
            if time.monotonic() > deadline:
                return
            time.sleep(_PAUSE_S)

    def _is_reached(self, name: str) -> bool:
        """Return whether a new connection reaches a graph's router, or the graph was deleted."""
        try:
            path = f"/v2/models/{quote(name, safe='')}/ready"
            self._send("GET", path, headers={"connection": "close"})
        except (EngineUnreachable, Unavailable):
            return False
        except NotFound:
            pass
        return True

    def _is_there(self, name: str) -> bool:
        """Return whether a graph exists, or may exist while the engine cannot answer."""
        try:
            self.graph(name)
        except NotFound:
            return False
        except (EngineUnreachable, Unavailable):
            return True
        return True

    def _try(self, ask: Callable[[], Json], deadline: float) -> Json:
        """Return an answer of the engine, or an empty dict while the engine cannot answer."""
        try:
            return ask()
        except (EngineUnreachable, Unavailable):
            if time.monotonic() > deadline:
                raise
            return {}

    def _get(self, path: str, params: Mapping[str, str | int] | None = None) -> Json:
        return _json(self._send("GET", path, params=params))

    def _post(self, path: str, body: Json | None = None) -> Json:
        return _json(self._send("POST", path, json=body or {}))

    def _put(self, path: str, body: Json) -> Json:
        return _json(self._send("PUT", path, json=body))

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            reply = self._http.request(method, path, **request)
        except httpx.TimeoutException as error:
            raise EngineUnreachable(f"the engine at {self._url} did not answer in time") from error
        except httpx.HTTPError as error:
            raise EngineUnreachable(
                f"the engine at {self._url} cannot be reached ({error}): is it still up?"
            ) from error
        if reply.is_error:
            _raise(reply)
        return reply


class EngineUnreachable(EngineError):
    """The engine does not answer, perhaps only for a moment."""


def _given(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _graph_path(name: str) -> str:
    return f"{CONTROL}/graphs/{quote(name, safe='')}"


def _rollout_of(name: str, found: Json) -> str:
    return f"the rollout of {name} revision {found['revision']}"


def _model_path(name: str, revision: int | None) -> str:
    path = f"/v2/models/{quote(name, safe='')}"
    return path if revision is None else f"{path}/versions/{revision}"


def _json(reply: httpx.Response) -> Json:
    try:
        content = reply.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise EngineError(f"{reply.url} did not answer with a JSON object")
    return content


def _raise(reply: httpx.Response) -> NoReturn:
    """Raise the error of a reply; a 5xx that is not anabranch's becomes Unavailable."""
    try:
        text = str(reply.json()["error"])
        kind = _ERRORS.get(reply.status_code, AnabranchError)
    except (ValueError, KeyError, TypeError):
        text = f"{reply.request.method} {reply.url} answered {reply.status_code}"
        kind = Unavailable if reply.is_server_error else EngineError
    raise kind(text)
