"""The control API's endpoints that move traffic between the revisions of a graph.

| method | path below ``/graphs/<graph>`` | body | answers |
|---|---|---|---|
| GET | ``/traffic`` | | weights and mirrors |
| PUT | ``/traffic`` | ``{"weights": {"3": 90, "4": 10}, "mirrors": {"5": 25}}`` | the same |
| POST | ``/promote`` | ``{"revision": 4}``; the candidate if left out | the same |
| POST | ``/abort`` | | the same |
| POST | ``/rollback`` | ``{"to": 3}``; the one before if left out | the same, or 202 |
| GET | ``/rollout`` | | the last rollout |
| POST | ``/rollout/<pause, resume, approve, promote or abort>`` | | the same |
| GET | ``/compare`` | | what the mirrors have shown |

What changed the traffic is in force when the answer comes: ``routers`` says how many of the routers
that are known have confirmed it. A rollback to a revision that is down answers 202, since that one
has to come up again. So does a rollback of a deleted graph, which brings the graph back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from anabranch.access.actor import ACTOR
from anabranch.control.access.quotas import Quotas
from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    deleted,
    operates,
    read_body,
    views,
)
from anabranch.control.api.traffic_views import compare_view, rollout_view, traffic_view
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Change, Moment, Operation, Situation
from anabranch.control.lifecycle.rollouts import RolloutState
from anabranch.control.models.shared_models import SharedModels
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.release.own_ports import OwnPorts
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Revision, Store, Stored
from anabranch.control.traffic.topic import CONFIRMATION_S
from anabranch.control.traffic.topics import TableTopics
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.errors import Conflict, InvalidRequest, NotFound
from anabranch.specs.models import Model, Percent, Share

_MAX_SHARES = 1000
_DIGITS = 9


def _number(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and text[0] != "0"):
        raise ValueError("is not the number of a revision, such as 3")
    return text


Number = Annotated[str, AfterValidator(_number)]
RevisionNumber = Annotated[int, Field(ge=1, le=10**_DIGITS - 1)]


class _Nothing(Model):
    """No field at all."""


class _Traffic(Model):
    weights: Annotated[dict[Number, Share], Field(max_length=_MAX_SHARES)] | None = None
    mirrors: Annotated[dict[Number, Percent], Field(max_length=_MAX_SHARES)] | None = None


class _Promote(Model):
    revision: RevisionNumber | None = None


class _Rollback(Model):
    to: RevisionNumber | None = None


@dataclass(eq=False, repr=False)
class TrafficApi:
    """Answers what moves traffic, and what shows it."""

    _store: Store
    _releases: Releases
    _ports: OwnPorts
    _quotas: Quotas
    _writer: TrafficWriter
    _topics: TableTopics
    _totals: ArmTotals
    _models: SharedModels

    def __post_init__(self) -> None:
        self.routes: Routes = {
            f"{GRAPH}/traffic": {**views(self._show), "PUT": Guarded("operate", self._split)},
            f"{GRAPH}/promote": operates(self._promote),
            f"{GRAPH}/abort": operates(self._abort),
            f"{GRAPH}/rollback": operates(self._rollback),
            f"{GRAPH}/rollout": views(self._rollout),
            f"{GRAPH}/rollout/(?P<action>{'|'.join(_ACTIONS)})": operates(self._act),
            f"{GRAPH}/rollout/approve": {"POST": Guarded("view", self._approve)},
            f"{GRAPH}/compare": views(self._compare),
        }

    async def _show(self, call: ApiCall) -> ApiAnswer:
        return answer(200, traffic_view(await self._stored(call.graph)))

    async def _split(self, call: ApiCall) -> ApiAnswer:
        wanted = read_body(call.body, _Traffic)
        if not wanted.weights and not wanted.mirrors:
            raise InvalidRequest('give "weights", "mirrors" or both, each with a revision at least')
        weights, mirrors = _by_number(wanted.weights), _by_number(wanted.mirrors)
        redirected = partial(_redirected, weights=weights, mirrors=mirrors)
        return await self._changed(call.graph, redirected)

    async def _promote(self, call: ApiCall) -> ApiAnswer:
        number = read_body(call.body, _Promote).revision
        return await self._changed(call.graph, partial(_promoted, number=number))

    async def _abort(self, call: ApiCall) -> ApiAnswer:
        read_body(call.body, _Nothing)
        return await self._changed(call.graph, operations.aborted)

    async def _rollback(self, call: ApiCall) -> ApiAnswer:
        to = read_body(call.body, _Rollback).to
        target = await asyncio.to_thread(self._target, call.graph, to)
        plan, number = self._releases.plan(target), target.number
        port = self._ports.claimed(call.graph, plan.port)
        self._models.check_caller(plan, call.identity)
        stored = await self._writer.change(
            call.graph,
            self._quotas.checked(partial(_back, to=number)),
            self._quotas.held(port),
        )
        if stored.situation.stable == number:
            return await self._confirmed(stored, {"revision": number, "state": "live"})
        state = stored.situation.members[number].state
        return answer(202, traffic_view(stored) | {"revision": number, "state": state})

    def _target(self, graph: str, to: int | None) -> Revision:
        """The revision to go back to, which was up once; of a deleted graph too."""
        _loaded(now := self._store.situation(graph).situation)
        if to is None:
            _no_candidate(now)
            to = self._store.previous(graph)
        if to is None:
            raise Conflict(f"graph {graph!r} has no revision to go back to")
        revision = self._store.revision(graph, to)
        if revision.state == "failed" and revision.live_at is None:
            raise Conflict(f"revision {to} of graph {graph!r} never came up: {revision.reason}")
        return revision

    async def _rollout(self, call: ApiCall) -> ApiAnswer:
        return answer(200, rollout_view(_last((await self._stored(call.graph)).situation)))

    async def _act(self, call: ApiCall) -> ApiAnswer:
        read_body(call.body, _Nothing)
        return await self._changed(call.graph, _ACTIONS[call.action])

    async def _approve(self, call: ApiCall) -> ApiAnswer:
        read_body(call.body, _Nothing)
        approved = partial(
            operations.approved,
            actor=str(ACTOR.get()),
            may=lambda role: call.identity.has(role, call.graph),
        )
        return await self._changed(call.graph, approved)

    async def _compare(self, call: ApiCall) -> ApiAnswer:
        stored = await self._stored(call.graph)
        return answer(200, compare_view(stored.situation, self._totals.totals(call.graph)))

    async def _stored(self, graph: str) -> Stored:
        stored = await asyncio.to_thread(self._store.situation, graph)
        _present(stored.situation)
        return stored

    async def _changed(self, graph: str, operation: Operation) -> ApiAnswer:
        return await self._confirmed(
            await self._writer.change(graph, partial(_if_present, operation))
        )

    async def _confirmed(self, stored: Stored, more: Mapping[str, Any] | None = None) -> ApiAnswer:
        """Wait until a change is in force, and say how things stand."""
        now = stored.situation
        confirmed, known = await self._topics.confirmed(
            now.graph, stored.generation, CONFIRMATION_S
        )
        rollout = None if now.rollout is None else rollout_view(now.rollout)
        view = traffic_view(stored) | {"rollout": rollout, **(more or {})}
        return answer(200, view | {"routers": {"confirmed": confirmed, "known": known}})


def _by_number(shares: Mapping[str, float] | None) -> dict[int, float]:
    return {int(number): share for number, share in (shares or {}).items()}


def _present(now: Situation) -> None:
    if now.state == "deleted":
        raise deleted(now.graph)
    if now.state == "deleting":
        raise Conflict(f"graph {now.graph!r} is being deleted")
    _loaded(now)


def _loaded(now: Situation) -> None:
    if now.state == "unloaded":
        raise Conflict(f"graph {now.graph!r} is unloaded; load it first")


def _if_present(operation: Operation, now: Situation, moment: Moment) -> Change:
    _present(now)
    return operation(now, moment)


def _redirected(
    now: Situation, moment: Moment, weights: Mapping[int, float], mirrors: Mapping[int, float]
) -> Change:
    """Set weights and mirrors together, or neither."""
    change = operations.split(now, moment, weights) if weights else Change(now)
    if not mirrors:
        return change
    after = operations.mirrored(change.situation, moment, mirrors)
    return replace(after, notes=(*change.notes, *after.notes))


def _promoted(now: Situation, moment: Moment, number: int | None) -> Change:
    return operations.preferred(now, moment, _candidate(now) if number is None else number)


def _candidate(now: Situation) -> int:
    """The newest arm beside the stable one, or else the only mirror."""
    if now.candidate is not None:
        return now.candidate
    if len(now.mirrors) == 1:
        return next(iter(now.mirrors))
    names = ", ".join(f"r{n} ({now.members[n].state})" for n in sorted(now.up)) or "none"
    raise Conflict(f"graph {now.graph!r} has no one candidate; name a revision that is up: {names}")


def _no_candidate(now: Situation) -> None:
    if now.candidate is not None:
        raise Conflict(
            f"revision {now.candidate} takes part in the traffic of {now.graph!r} beside revision "
            f"{now.stable}: `abort` takes it out, and `rollback --to N` says which one you mean"
        )


def _back(now: Situation, moment: Moment, to: int) -> Change:
    """Make a revision the stable one again, or bring a deleted graph back with it."""
    _loaded(now)
    if to in now.coming:
        raise Conflict(f"revision {to} of graph {now.graph!r} is on its way already")
    return operations.rolled_back(now, moment, to)


def _last(now: Situation) -> RolloutState:
    if now.rollout is None:
        coming = [n for n in now.coming if now.members[n].intent.kind == "rollout"]
        later = f" yet; that of revision {coming[0]} begins once it is up" if coming else ""
        raise NotFound(f"graph {now.graph!r} has had no rollout{later}")
    return now.rollout


def _active(now: Situation) -> RolloutState:
    state = _last(now)
    if not state.active:
        raise Conflict(f"the rollout of revision {state.revision} is over: it was {state.phase}")
    return state


def _finish(now: Situation, moment: Moment) -> Change:
    return operations.preferred(now, moment, _active(now).revision)


def _give_up(now: Situation, moment: Moment) -> Change:
    _active(now)
    return operations.aborted(now, moment)


_ACTIONS: Mapping[str, Operation] = {
    "pause": partial(operations.paused, by="user", reason=""),
    "resume": operations.resumed,
    "promote": _finish,
    "abort": _give_up,
}
