"""What traffic between revisions costs by itself: choices, signed decisions, `status`."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from anabranch.access.identity import TOKEN, Asker
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Change, Moment, Situation
from anabranch.control.observe.process_sums import ProcessSums
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.parts import ControllerParts
from anabranch.control.reconcile.pools import Pools
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.control.traffic.topics import TableTopics
from anabranch.graph.plan.plan import Signature
from anabranch.router.signing import Signatures, SigningKey
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.decisions import Decision, from_routing, routing
from anabranch.router.traffic.split import Split
from anabranch.specs.models import Sticky, Traffic
from benchmarks.contenders import GRAPH

REPEATS = 7
CHOICES = 20_000
REVISIONS = 1_000


def draw_seconds() -> float:
    """One choice between two arms by weight."""
    return _choice_seconds(Traffic(), {})


def sticky_seconds() -> float:
    """One choice between two arms by a header."""
    return _choice_seconds(Traffic(sticky=Sticky(header="x-user")), {"x-user": "someone"})


def _choice_seconds(policy: Traffic, headers: Mapping[str, str]) -> float:
    split = Split(_table(policy))

    def choose() -> None:
        for _ in range(CHOICES):
            split.choose(headers, {})

    return _median(choose) / CHOICES


def _table(policy: Traffic) -> RoutingTable:
    signature = Signature({}, {}, 60.0)
    revisions = {1: signature, 2: signature}
    return RoutingTable("five", 1, 1, {1: 90, 2: 10}, revisions=revisions, policy=policy)


def telling_seconds() -> float:
    """The ``routing`` of a reply, signed; one router node has decided."""
    signatures, decision = _signed()

    def tell() -> None:
        for _ in range(CHOICES):
            routing(decision, signatures)

    return _median(tell) / CHOICES


def signature_seconds() -> float:
    """The signature alone."""
    signatures, decision = _signed()
    text = routing(decision, signatures).encode()

    def sign() -> None:
        for _ in range(CHOICES):
            signatures.sign(text)

    return _median(sign) / CHOICES


def checking_seconds() -> float:
    """What a reward's ``routing`` takes to be read and checked."""
    signatures, decision = _signed()
    text = routing(decision, signatures)

    def check() -> None:
        for _ in range(CHOICES):
            from_routing(text, signatures)

    return _median(check) / CHOICES


def _signed() -> tuple[Signatures, Decision]:
    signatures = Signatures("five", [SigningKey("5c1fa2d0", bytes(32), 0.0)])
    return signatures, Decision("7f" * 16, 4, {"chooser": "forest"})


def status_seconds() -> float:
    """``GET /graphs/<graph>`` of the control API for a graph with many revisions."""
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(_status_seconds(Path(name)))


async def _status_seconds(home: Path) -> float:
    settings = Settings.from_env({"ANABRANCH_HOME": str(home)})
    store = Store.open(settings.store)
    control = ControllerParts(settings, store, TableTopics(), ArmTotals(), Pools(), ProcessSums())
    await control.acquire(10.0)
    spec = (GRAPH / "graph.yaml").read_text()
    for _ in range(REVISIONS):
        number = store.ensure_revision("five", spec, "0" * 64, force=True)[0].number
        store.change("five", _arrived(number))
        store.change("five", _expired)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        status, _, _ = await control.api.handle("GET", "/graphs/five", "", b"", Asker(TOKEN))
        times.append(time.perf_counter() - start)
        assert status == 200
    store.close()
    return statistics.median(times)


def _arrived(number: int) -> Callable[[Situation], Change]:
    return lambda now: operations.arrived(now, Moment(time.time(), 0.0), number)


def _expired(now: Situation) -> Change:
    return operations.expired(now, Moment(time.time() + operations.LINGER, 0.0))


def _median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
