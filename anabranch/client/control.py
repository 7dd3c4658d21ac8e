"""Operations of the control API, and of the protocol as far as they take and return its JSON.

Each returns the engine's JSON, and raises the errors of its request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from anabranch.client.http import Json, Operation, ask, json_of, send

CONTROL = "/control/v1"


def graphs() -> Operation[list[Json]]:
    """Return every graph with its stable revision and state."""
    return _all("graphs")


def namespaces() -> Operation[list[Json]]:
    """Return ``{"namespace", "use", "limits"}`` of every namespace with a graph or a quota.

    Use and limits are amounts of graphs, replicas, cpu, gpu, memory (bytes).
    """
    return _all("namespaces")


def models() -> Operation[list[Json]]:
    """Return the shared models, by name: revisions with replicas and bytes of memory, and users.

    Each user has the number of its calls, of those that failed, the calls a second lately, and the
    mean time of its successful calls in seconds. ``in_flight`` calls wait or run in replicas.
    """
    return _all("models")


def graph(name: str, limit: int | None = None) -> Operation[Json]:
    """Return one graph with its arms, mirrors, rollout, and its ``limit`` newest revisions."""
    return ask("GET", graph_path(name), params=given(limit=limit))


def history(name: str, limit: int) -> Operation[Json]:
    """Return the state of a graph, also of a deleted one, and its ``limit`` newest revisions.

    The ``revisions`` come newest first.
    """
    return ask("GET", f"{graph_path(name)}/revisions", params={"limit": limit})


def revision(name: str, number: int) -> Operation[Json]:
    """Return one revision with its state and, where it failed, the reason."""
    return ask("GET", f"{graph_path(name)}/revisions/{number}")


def diff(name: str, first: int, second: int) -> Operation[Json]:
    """Return the differences between two revisions: specs, plans, files."""
    return ask("GET", f"{graph_path(name)}/revisions/{second}/diff", params={"from": first})


def deploy(
    name: str,
    bundle: bytes,
    author: str = "",
    message: str = "",
    intent: Json | None = None,
    force: bool = False,
) -> Operation[Json]:
    """Send a bundle, and return ``{"graph", "revision", "state", "new"}`` of its revision.

    A bundle of the same content as a revision with a part in the graph's traffic, or on its way,
    makes no ``new`` revision and changes nothing, unless ``force``.

    ``intent`` has a ``kind`` (replace, canary, mirror or rollout), a ``percent`` for a canary
    or a mirror, and a ``rollout`` whose fields replace those of the spec's block. Without an
    intent, the spec's block decides.
    """
    params = {"author": author, "message": message}
    if force:
        params["force"] = "1"
    if intent is not None:
        params["intent"] = json.dumps(intent)
    return ask(
        "POST",
        f"{graph_path(name)}/revisions",
        params=params,
        content=bundle,
        headers={"content-type": "application/zip"},
    )


def artefact(digest: str) -> Operation[Json]:
    """Return how much of a model, by its SHA-256, the engine has: ``{"have", "complete"}``."""
    return ask("GET", f"{CONTROL}/artefacts/{digest}")


def send_artefact(digest: str, size: int, offset: int, piece: bytes) -> Operation[Json]:
    """Send a piece of a model of ``size`` bytes, and return as ``artefact`` does.

    A piece counts where ``have`` was its ``offset``; else go on from ``have``.
    """
    params = {"size": size, "offset": offset}
    return ask("PUT", f"{CONTROL}/artefacts/{digest}", params=params, content=piece)


def traffic(name: str) -> Operation[Json]:
    """Return the weights and mirrors of a graph, each by revision."""
    return ask("GET", f"{graph_path(name)}/traffic")


def set_traffic(
    name: str,
    weights: Mapping[int, float] | None = None,
    mirrors: Mapping[int, float] | None = None,
) -> Operation[Json]:
    """Set the weights of arms and the percentages of mirrors, both in one change or neither.

    Like all operations that move traffic, return once the change is in force; ``routers`` of the
    reply holds the number of routers that have confirmed the change.
    """
    parts = {"weights": weights, "mirrors": mirrors}
    body = {
        part: {str(number): share for number, share in shares.items()}
        for part, shares in parts.items()
        if shares
    }
    return ask("PUT", f"{graph_path(name)}/traffic", json=body)


def promote(graph: str, revision: int | None = None) -> Operation[Json]:
    """Make a revision the stable one, with all traffic; the candidate if it is None.

    Return the traffic. Raise NotFound, or Conflict where there is no candidate.
    """
    return ask("POST", f"{graph_path(graph)}/promote", json=given(revision=revision))


def abort(graph: str) -> Operation[Json]:
    """Give all traffic back to the stable revision, and end a rollout; return the traffic.

    Raise NotFound or Conflict.
    """
    return ask("POST", f"{graph_path(graph)}/abort", json={})


def rollback(graph: str, to: int | None = None) -> Operation[Json]:
    """Go back to the revision ``to``; to the previous stable revision if it is None.

    A graph that was deleted comes back, with its last stable revision if ``to`` is None. ``state``
    of the result is ``live`` if the revision was up, and that of a deploy if it has to start first.
    Raise NotFound or Conflict.
    """
    return ask("POST", f"{graph_path(graph)}/rollback", json=given(to=to))


def rollout(name: str) -> Operation[Json]:
    """Return the last rollout of a graph, also if it is over; raise NotFound without any."""
    return ask("GET", f"{graph_path(name)}/rollout")


def move_rollout(name: str, action: str) -> Operation[Json]:
    """Pause, resume, approve, promote or abort the rollout in progress."""
    return ask("POST", f"{graph_path(name)}/rollout/{quote(action, safe='')}", json={})


def compare(name: str) -> Operation[Json]:
    """Return the comparison of a graph's mirrors with its arms."""
    return ask("GET", f"{graph_path(name)}/compare")


def monitors(name: str) -> Operation[Json]:
    """Return the findings of a graph's monitors, for revisions that are up."""
    return ask("GET", f"{graph_path(name)}/monitors")


def bandits(name: str) -> Operation[Json]:
    """Return the states of a graph's learning routers, for revisions that are up."""
    return ask("GET", f"{graph_path(name)}/bandits")


def reset_bandits(name: str, router: str | None = None) -> Operation[Json]:
    """Reset one learning router, or all if ``router`` is None; return as ``bandits`` does."""
    return ask("POST", f"{graph_path(name)}/bandits/reset", json=given(router=router))


def experiments(name: str, error: float) -> Operation[Json]:
    """Return the routes of a graph's router nodes, compared with at most so much ``error``."""
    return ask("GET", f"{graph_path(name)}/experiments", params={"error": repr(error)})


def delete(name: str) -> Operation[None]:
    """Ask the engine to delete a graph."""
    yield from send("DELETE", graph_path(name))


def logs(
    name: str,
    tail: int = 100,
    after: str | None = None,
    node: str | None = None,
    revision: int | None = None,
    request_id: str | None = None,
    machine: str | None = None,
) -> Operation[Json]:
    """Return the last ``tail`` log lines of the graph's replicas, or those ``after`` a cursor.

    ``node``, ``revision``, ``request_id`` and ``machine`` filter the lines. The reply has the
    ``lines`` and a ``cursor`` for the next call.
    """
    asked = given(
        tail=tail, after=after, node=node, revision=revision, request_id=request_id, machine=machine
    )
    return ask("GET", f"{graph_path(name)}/logs", params=asked)


def events(
    graph: str | None = None, after: int = 0, filters: Mapping[str, Any] | None = None
) -> Operation[list[Json]]:
    """Return the events with an id above ``after``, oldest first, of one graph or of all.

    ``graph`` may have ``*`` for any characters. ``filters`` are those of the control API: kind,
    actor, since, until, revision.
    """
    return _all("events", after=after, graph=graph, **(filters or {}))


def newest_events(
    graph: str | None, count: int, filters: Mapping[str, Any] | None = None
) -> Operation[list[Json]]:
    """Return the newest ``count`` events, oldest first, as ``events`` does."""
    return _all("events", graph=graph, newest=count, **(filters or {}))


def verify_events(hash: str | None = None) -> Operation[Json]:
    """Follow the hash chain over all events; ``contains`` says whether it has ``hash``."""
    return ask("GET", f"{CONTROL}/events/verify", params=given(hash=hash))


def nodes() -> Operation[Json]:
    """Return the machines of the engine, and what waits for a place on one.

    ``nodes`` have a name, an id, resources, labels, segments and a state; ``pending`` holds the
    resources that are asked for and nowhere free, ``waiting`` the segments without a place.
    """
    return ask("GET", f"{CONTROL}/nodes")


def join(
    name: str, address: str, machine: str, versions: Mapping[str, str], again: bool = False
) -> Operation[Json]:
    """Return a ticket, with which a machine of these versions joins the engine.

    ``machine`` is the id of what is started on it; ``again`` tells that it may have replicas of an
    earlier start of the engine. Raise Conflict where it cannot join, Unavailable where it is not
    its turn yet.
    """
    body = {
        "name": name, "address": address, "machine": machine, "versions": dict(versions),
        "again": again,
    }  # fmt: skip
    return ask("POST", f"{CONTROL}/nodes", json=body)


def drain(node: str) -> Operation[Json]:
    """Have all replicas moved from a machine, which ends then, and return it.

    ``node`` is its name, address or id. Raise NotFound without such a machine, and Conflict for the
    head of the engine.
    """
    return ask("POST", f"{CONTROL}/nodes/{quote(node, safe='')}/drain", json={})


def jobs(graph: str | None = None) -> Operation[list[Json]]:
    """Return the batch jobs that the engine runs or has run, the newest first; of one graph or all.

    Each has what it was started with, ``state`` and ``progress``.
    """
    return _all("jobs", graph=graph)


def job(id: str) -> Operation[Json]:
    """Return a batch job of the engine. Raise NotFound without one of that id."""
    return ask("GET", f"{CONTROL}/jobs/{quote(id, safe='')}")


def start_job(graph: str, input: str, output: str, **fields: Any) -> Operation[Json]:
    """Have the engine send the rows of files through a graph, and return the job at once.

    ``input`` and ``output`` are paths on the engine's machine, or URLs, below what the setting
    ``ANABRANCH_JOBS`` allows. ``fields`` may be ``revision``, ``columns`` (those of each input),
    ``kept`` (columns that are copied), ``outputs`` (those that are asked for), ``chunk``, ``rows``,
    ``concurrency``, ``rate``, and ``replicas`` of the job's own. Raise InvalidRequest for what does
    not fit, NotFound for an unknown graph or revision.
    """
    body = {"graph": graph, "input": input, "output": output, **given(**fields)}
    return ask("POST", f"{CONTROL}/jobs", json=body)


def cancel_job(id: str) -> Operation[Json]:
    """Cancel a batch job, and return it; one that is over stays so. Its output so far stays."""
    return ask("POST", f"{CONTROL}/jobs/{quote(id, safe='')}/cancel", json={})


def kept() -> Operation[list[Json]]:
    """Return how much the engine keeps of events, revisions, bundles and so on, and the bounds."""
    return _all("kept")


def sign_in_code() -> Operation[str]:
    """Return a code that opens the console once, within ten minutes."""
    return str((yield from ask("POST", f"{CONTROL}/codes", json={}))["code"])


def api_keys() -> Operation[list[Json]]:
    """Return the API keys that count: names, roles and times, never a key itself."""
    return _all("keys")


def create_key(
    name: str,
    roles: Sequence[str],
    graphs: Sequence[str] = ("*",),
    seconds: float | None = None,
) -> Operation[Json]:
    """Make an API key with ``roles`` for the graphs whose names fit the patterns of ``graphs``.

    It counts for so many seconds, without an end where that is None. The field ``key`` of the
    result is the key, which is never shown again. Raise Conflict where the name is taken.
    """
    body = given(name=name, roles=list(roles), graphs=list(graphs), seconds=seconds)
    return ask("POST", f"{CONTROL}/keys", json=body)


def rotate_key(name: str, overlap: float = 86_400.0) -> Operation[Json]:
    """Make another key of a name; those before it count for ``overlap`` seconds more, at most.

    Return as ``create_key`` does. Raise NotFound without a key of that name.
    """
    return ask("POST", f"{key_path(name)}/rotate", json={"overlap": overlap})


def revoke_key(name: str) -> Operation[Json]:
    """Revoke all keys of a name: they count nowhere once this returns. Raise NotFound without."""
    return ask("DELETE", key_path(name))


def access() -> Operation[Json]:
    """Return the ``policy`` of the engine as it was given, and roles of ``anonymous`` callers."""
    return ask("GET", f"{CONTROL}/access")


def set_access(policy: str) -> Operation[Json]:
    """Replace the policy by another one in YAML or JSON; an empty one takes it back."""
    return ask("PUT", f"{CONTROL}/access", content=policy.encode())


def check_access(kind: str, who: str, action: str, graph: str = "") -> Operation[Json]:
    """Return whether somebody may do something: ``{"allowed", "why", "roles"}``.

    ``kind`` is key, subject, group, certificate or anonymous; without a ``graph`` it is asked for
    the engine as a whole.
    """
    params = {"kind": kind, "who": who, "action": action, "graph": graph}
    return ask("GET", f"{CONTROL}/access/check", params=params)


def me() -> Operation[Json]:
    """Return who this client is to the engine: ``{"kind", "name", "roles", "actions"}``."""
    return ask("GET", f"{CONTROL}/access/me")


def metadata(name: str, number: int | None = None) -> Operation[Json]:
    """Return name, inputs and outputs of a graph, as the Open Inference Protocol gives them."""
    return ask("GET", model_path(name, number))


RESPOND_ASYNC = {"prefer": "respond-async"}
"""Header of a request that is to be kept, and answered later (RFC 7240)."""


def infer(
    name: str, body: Json, number: int | None = None, headers: Mapping[str, str] | None = None
) -> Operation[Json]:
    """Send an inference request of the Open Inference Protocol, and return the reply.

    ``number`` is the revision that answers; the graph's traffic decides where it is None. A reply
    to a request without an ``id`` has the one that the engine gave it, which feedback may name.
    With ``RESPOND_ASYNC`` among the headers, the reply tells where the answer will be.
    """
    path = f"{model_path(name, number)}/infer"
    reply = yield from send("POST", path, json=body, headers=headers)
    found = json_of(reply)
    id = found.get("id") or reply.headers.get("x-request-id")
    return {**found, "id": id} if id else found


def feedback(name: str, body: Json) -> Operation[Json]:
    """Send a reward or the truth for an answer, and return whether it counts."""
    return ask("POST", f"{model_path(name)}/feedback", json=body)


def explain(name: str, body: Json) -> Operation[Json]:
    """Send an inference request to an explainer, which its parameters may name."""
    return ask("POST", f"{model_path(name)}/explain", json=body)


def _all(of: str, **asked: Any) -> Operation[list[Json]]:
    """Return what the engine lists at the path, and in the field, of this name."""
    found: list[Json] = (yield from ask("GET", f"{CONTROL}/{of}", params=given(**asked)))[of]
    return found


def given(**fields: Any) -> Json:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def graph_path(name: str) -> str:
    """Return the path of a graph in the control API."""
    return f"{CONTROL}/graphs/{quote(name, safe='')}"


def key_path(name: str) -> str:
    """Return the path of an API key in the control API."""
    return f"{CONTROL}/keys/{quote(name, safe='')}"


def model_path(name: str, number: int | None = None) -> str:
    """Return the path of a graph, or of one of its revisions, in the Open Inference Protocol."""
    path = f"/v2/models/{quote(name)}"
    return path if number is None else f"{path}/versions/{number}"
