from __future__ import annotations

from typing import Any

import pytest

from anabranch.control.lifecycle.decide import (
    Action,
    App,
    Arrive,
    Delete,
    Desired,
    Fail,
    MarkDeleted,
    Start,
    Wait,
    decide,
)
from anabranch.router.table import parse_app

G = "digits"
R1, R2, R3 = (f"{G}.r{number}" for number in (1, 2, 3))
H1, H2, H3 = (f"{name}.head" for name in (R1, R2, R3))
BOTH = frozenset({1, 2})


def running(revision: int | None = None) -> App:
    return App("running", revision)


def going(revision: int | None = None) -> App:
    return App("deploying", revision)


def broken(reason: str = "", revision: int | None = None) -> App:
    return App("failed", revision, reason)


def leaving(revision: int | None = None) -> App:
    return App("deleting", revision)


def ill(revision: int | None = None) -> App:
    return App("unhealthy", revision)


def first(**fields: Any) -> Desired:
    """Revision 1 is to be the first of its graph."""
    return Desired(G, coming=(1,), **fields)


def second(**fields: Any) -> Desired:
    """Revision 2 is on its way beside the stable one."""
    return Desired(G, stable=1, arms=frozenset({1}), up=frozenset({1}), coming=(2,), **fields)


def stable(number: int = 1, *others: int, arms: tuple[int, ...] = (), **fields: Any) -> Desired:
    """A stable revision, others that are up, and those of them that have weight."""
    up, weighted = frozenset({number, *others}), frozenset({number, *arms})
    return Desired(G, stable=number, arms=weighted, up=up, **fields)


TABLE: dict[str, tuple[Desired, dict[str, App], list[Action]]] = {
    "nothing wanted, nothing there": (Desired(G), {}, []),
    # The first revision of a graph.
    "first: one segment": (first(), {}, [Start("router", 1)]),
    "first: two segments": (first(remote=BOTH), {}, [Start("segments", 1)]),
    "first: segments start": (first(remote=BOTH), {R1: going()}, [Wait()]),
    "first: segments fail": (first(remote=BOTH), {R1: broken("bad")}, [Fail(1, "bad")]),
    "first: segments run": (first(remote=BOTH), {R1: running()}, [Start("router", 1)]),
    "first: router starts": (first(), {G: going(1)}, [Wait()]),
    "first: Serve does not tell yet what the router is to run": (first(), {G: going()}, [Wait()]),
    "first: router runs": (first(), {G: running(1)}, [Arrive(1)]),
    "first: router runs, but the segments are gone": (
        first(remote=BOTH), {G: running(1)}, [Start("segments", 1)],
    ),
    "first: router fails": (first(), {G: broken("no file", 1)}, [Fail(1, "no file")]),
    "first: router is unhealthy": (
        first(), {G: ill(1)}, [Fail(1, "it did not become healthy")],
    ),
    "first: time is up in the router": (
        first(overdue=frozenset({1})), {G: going(1)},
        [Fail(1, "it was not healthy in time; still waiting for digits")],
    ),
    "first: time is up before the router": (
        first(overdue=frozenset({1})), {},
        [Fail(1, "it was not healthy in time; still waiting for the router")],
    ),
    "first: failed, clean up": (Desired(G), {G: broken("no file", 1)}, [Delete(G)]),
    "first: replaces the router of one that failed": (
        Desired(G, coming=(2,)), {G: broken("no file", 1)}, [Start("router", 2)],
    ),
    "first: replaces the router of one that was superseded": (
        Desired(G, coming=(2,)), {G: going(1)}, [Start("router", 2)],
    ),
    "first: those after it wait": (
        Desired(G, coming=(1, 2)), {G: going(1)}, [Wait()],
    ),
    "first: the graph is still being deleted": (
        Desired(G, coming=(2,), remote=frozenset({2})),
        {G: leaving(1), R1: running()},
        [Start("segments", 2)],
    ),
    "first: only the old router is still there": (
        Desired(G, coming=(2,)), {G: leaving(1)}, [Wait()],
    ),
    "router gone first, then segments": (Desired(G), {G: leaving(1), R1: running()}, [Wait()]),
    # Revisions on their way beside the stable one.
    "coming: segments and head": (
        second(remote=BOTH), {G: running(1), R1: running()},
        [Start("segments", 2), Start("head", 2)],
    ),
    "coming: starts": (second(), {G: running(1), H2: going()}, [Wait()]),
    "coming: one part runs": (
        second(remote=BOTH), {G: running(1), R1: running(), R2: going(), H2: running()}, [Wait()],
    ),
    "coming: fails": (second(), {G: running(1), H2: broken("bad")}, [Fail(2, "bad")]),
    "coming: its segments fail": (
        second(remote=BOTH), {G: running(1), R1: running(), R2: broken("bad"), H2: going()},
        [Fail(2, "bad")],
    ),
    "coming: becomes unhealthy": (
        second(), {G: running(1), H2: ill()}, [Fail(2, "it did not become healthy")],
    ),
    "coming: time is up": (
        second(overdue=frozenset({2})),
        {G: running(1), H2: App("deploying", reason="no GPU")},
        [Fail(2, "it was not healthy in time; still waiting for digits.r2.head: no GPU")],
    ),
    "coming: its last try is still being deleted": (
        second(), {G: running(1), H2: leaving()}, [Wait()],
    ),
    "coming: runs": (second(), {G: running(1), H2: running()}, [Arrive(2)]),
    "coming: two at a time": (
        Desired(G, 1, frozenset({1}), frozenset({1}), coming=(2, 3)),
        {G: running(1), H2: running()},
        [Arrive(2), Start("head", 3)],
    ),
    "coming: one fails, the other goes on": (
        Desired(G, 1, frozenset({1}), frozenset({1}), coming=(2, 3)),
        {G: running(1), H2: broken("bad"), H3: going()},
        [Fail(2, "bad"), Wait()],
    ),
    "coming: the router is away": (
        second(), {H2: going()}, [Wait(), Start("router", 1)],
    ),
    "failed candidate goes": (stable(), {G: running(1), H2: broken("bad")}, [Delete(H2)]),
    # Revisions that are up.
    "up: all is well": (stable(), {G: running(1)}, []),
    "up: unhealthy is for Serve to mend": (
        stable(1, 2, arms=(2,)), {G: ill(1), H2: ill()}, [],
    ),
    "up: an arm and its head": (stable(1, 2, arms=(2,)), {G: running(1), H2: running()}, []),
    "up: what is missing of a warm one comes back": (
        stable(1, 2, remote=BOTH), {G: running(1), R1: running()},
        [Start("segments", 2), Start("head", 2)],
    ),
    "up: what failed is tried again": (
        stable(1, 2, remote=BOTH),
        {G: running(1), R1: broken(), R2: running(), H2: broken()},
        [Start("segments", 1, retry=True), Start("head", 2, retry=True)],
    ),
    "up: a head that was being deleted comes back after that": (
        stable(1, 2), {G: running(1), H2: leaving()}, [Wait()],
    ),
    "up: the stable one needs no head once the router is settled": (
        stable(), {G: running(1), H1: running()}, [Delete(H1)],
    ),
    "up: nor while the router is only unhealthy": (
        stable(), {G: ill(1), H1: running()}, [Delete(H1)],
    ),
    "up: nor where there is no router": (stable(), {H1: going()}, [Start("router", 1), Delete(H1)]),
    "up: the head of the stable one stays while the router rolls": (
        stable(2), {G: going(2), H2: running()}, [Wait()],
    ),
    "up: and is mended": (
        stable(2), {G: going(2), H2: broken()}, [Start("head", 2, retry=True), Wait()],
    ),
    "up: but is not started for a router that starts": (stable(), {G: going(1)}, [Wait()]),
    "up: nor while Serve does not tell what the router runs": (stable(), {G: going()}, [Wait()]),
    "up: nor for one that fails to start": (
        stable(), {G: broken("no GPU", 1)}, [Start("router", 1, retry=True)],
    ),
    # A router that is missing.
    "open: segments first": (stable(2, remote=BOTH), {}, [Start("segments", 2)]),
    "open: segments start": (stable(2, remote=BOTH), {R2: going()}, [Wait()]),
    "open: segments fail": (
        stable(2, remote=BOTH), {R2: broken()}, [Start("segments", 2, retry=True)],
    ),
    "open: then the router": (stable(2, remote=BOTH), {R2: running()}, [Start("router", 2)]),
    "open: an arm is missing": (stable(1, 2, arms=(2,)), {}, [Start("head", 2)]),
    "open: an arm starts": (stable(1, 2, arms=(2,)), {H2: going()}, [Wait()]),
    "open: an arm's segments start": (
        stable(1, 2, arms=(2,), remote=frozenset({2})), {R2: going(), H2: running()}, [Wait()],
    ),
    "open: an arm runs": (
        stable(1, 2, arms=(2,)), {H2: running()}, [Start("router", 1)],
    ),
    "open: an arm that fails is not waited for": (
        stable(1, 2, arms=(2,)), {H2: broken()},
        [Start("head", 2, retry=True), Start("router", 1)],
    ),
    "open: a warm one is not waited for": (
        stable(1, 2), {H2: going()}, [Wait(), Start("router", 1)],
    ),
    "open: it is still being deleted": (stable(), {G: leaving(1)}, [Wait()]),
    # A router that inlines another revision than the stable one.
    "roll: at once where the old one is down": (
        stable(2), {G: running(1), H2: running()}, [Start("router", 2)],
    ),
    "roll: the old one's segments stay until then": (
        stable(2, remote=BOTH), {G: running(1), R1: running(), R2: running(), H2: running()},
        [Start("router", 2)],
    ),
    "roll: the old one gets a head first, if it stays up": (
        stable(2, 1), {G: running(1), H2: running()}, [Start("head", 1)],
    ),
    "roll: which starts": (stable(2, 1), {G: running(1), H1: going(), H2: running()}, [Wait()]),
    "roll: which runs": (
        stable(2, 1), {G: running(1), H1: running(), H2: running()}, [Start("router", 2)],
    ),
    "roll: which fails": (
        stable(2, 1), {G: running(1), H1: broken(), H2: running()},
        [Start("head", 1, retry=True), Start("router", 2)],
    ),
    "roll: the old one's segments start": (
        stable(2, 1, remote=frozenset({1})),
        {G: running(1), R1: going(), H1: running(), H2: running()},
        [Wait()],
    ),
    "roll: not while a router starts, which Serve would end at once": (
        stable(2), {G: App("deploying", 1, is_starting=True), H2: running()}, [Wait()],
    ),
    "roll: not before the new one runs": (
        stable(2), {G: running(1), H2: going()}, [Wait()],
    ),
    "roll: nor its segments": (
        stable(2, remote=frozenset({2})), {G: running(1), R2: going(), H2: running()}, [Wait()],
    ),
    "roll: the new one's head is missing": (stable(2), {G: running(1)}, [Start("head", 2)]),
    "roll: the new one's head fails": (
        stable(2), {G: running(1), H2: broken()}, [Start("head", 2, retry=True)],
    ),
    "roll: to another one while one is under way": (
        stable(3, 2), {G: going(2), H2: running(), H3: running()}, [Start("router", 3)],
    ),
    "roll: back": (
        stable(1, 2), {G: going(2), H1: running(), H2: running()}, [Start("router", 1)],
    ),
    "roll: a router that does not tell what it runs": (
        stable(2), {G: running(), H2: running()}, [Start("router", 2)],
    ),
    "roll: it drains": (
        stable(2, 1, remote=BOTH),
        {G: going(2), R1: running(), R2: running(), H1: running(), H2: running()},
        [Wait()],
    ),
    "roll: it drains, and the old one is retired": (
        stable(2, remote=BOTH),
        {G: going(2), R1: running(), R2: running(), H1: running(), H2: running()},
        [Wait(), Delete(H1)],
    ),
    "roll: it fails": (
        stable(2, remote=BOTH),
        {G: broken("oom", 2), R1: running(), R2: running(), H2: running()},
        [Start("router", 2, retry=True)],
    ),
    "roll: it fails, and back": (
        stable(1, 2), {G: broken("oom", 2), H1: running(), H2: running()}, [Start("router", 1)],
    ),
    "roll: settled": (
        stable(2, 1, remote=BOTH),
        {G: running(2), R1: running(), R2: running(), H1: running(), H2: running()},
        [Delete(H2)],
    ),
    "retired: its parts go": (
        stable(2, remote=BOTH),
        {G: running(2), R1: running(), R2: running(), H1: running()},
        [Delete(R1), Delete(H1)],
    ),
    "retired: they are going": (
        stable(2), {G: running(2), R1: leaving(), H1: leaving()}, [Wait()],
    ),
    "retired: not what a router that is going may still call": (
        Desired(G), {G: leaving(1), R1: running(), H2: running()}, [Delete(H2)],
    ),
    # Deletion.
    "deleted: router first": (
        Desired(G, deleted=True), {G: running(1), R1: running()}, [Delete(G), Wait()],
    ),
    "deleted: router is going": (
        Desired(G, deleted=True), {G: leaving(1), R1: running()}, [Wait()],
    ),
    "deleted: then the rest": (
        Desired(G, deleted=True), {R1: running(), H2: going()}, [Delete(R1), Delete(H2), Wait()],
    ),
    "deleted: gone": (Desired(G, deleted=True), {}, [MarkDeleted()]),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_table(case: str) -> None:
    desired, observed, expected = TABLE[case]
    assert decide(desired, {name: at(name, app) for name, app in observed.items()}) == expected


def at(name: str, app: App) -> App:
    """An application of a revision is of that revision."""
    _, _, number = parse_app(name) or ("", "", None)
    return app if number is None else App(app.status, number, app.reason)
