from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import shutil
import time
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.components.artefacts.bundled import MANIFEST, BundledArtefact
from anabranch.control import housekeeping
from anabranch.control.housekeeping import Housekeeping
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Moment
from anabranch.control.release.bundles import REQUIREMENTS, BundleStore
from anabranch.control.release.environments import key
from anabranch.control.release.machine_caches import Needed
from anabranch.control.settings.settings import Settings
from anabranch.control.store.schema import experiments, outbox
from anabranch.control.store.soundness import graphs_in
from anabranch.control.store.store import Store
from anabranch.control.traffic.signing_keys import SigningKeys
from anabranch.errors import Unavailable
from tests.control.stores import new_store
from tests.disks import names
from tests.waiting import until


def housekeeping_of(home: Path, store: Store, **more: str) -> Housekeeping:
    env = {
        "ANABRANCH_HOME": str(home),
        "ANABRANCH_BUNDLE_AGE": "3600",
        "ANABRANCH_LOG_SIZE": "100000",
        **more,
    }
    keys = SigningKeys(store.database)
    return Housekeeping(Settings.from_env(env), store, keys, lambda: home / "logs")


def has_in_the_file_alone(path: Path, graphs: int) -> bool:
    return graphs_in(Path(shutil.copy(path, path.with_name("alone.db")))) == graphs


def test_each_round_brings_the_log_into_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "PERIOD_S", 0.01)
    path = tmp_path / "store.db"
    store = new_store(f"sqlite:///{path}")
    rounds = 0
    checkpoint = store.database.checkpoint

    def fail_once() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise Unavailable("the store does not answer: it is asleep")
        checkpoint()

    monkeypatch.setattr(store.database, "checkpoint", fail_once)

    async def scenario() -> None:
        task = asyncio.create_task(housekeeping_of(tmp_path, store).run())
        for number in range(1, 4):
            await asyncio.to_thread(store.ensure_revision, f"g{number}", "spec", "d")
            await asyncio.to_thread(until, partial(has_in_the_file_alone, path, number))
        task.cancel()

    with caplog.at_level(logging.WARNING, "anabranch.control"):
        asyncio.run(asyncio.wait_for(scenario(), 60))
    store.close()
    assert "has to wait: the store does not answer: it is asleep" in caplog.text


def test_bundles_that_no_revision_uses_go_when_they_are_old(tmp_path: Path) -> None:
    store, bundles = (
        new_store(f"sqlite:///{tmp_path / 'store.db'}"),
        BundleStore(tmp_path / "bundles"),
    )
    used, stray, fresh = (bundles.put({"graph.yaml": name}) for name in (b"a", b"b", b"c"))
    left = tmp_path / "bundles" / ".x.zip.0123abcd.new"
    left.touch()
    for path in (bundles.path(used), bundles.path(stray), left):
        os.utime(path, (1, 1))
    store.ensure_revision("digits", "spec", used)
    store.change("digits", partial(operations.deleted, moment=Moment(1, 1)))
    housekeeping_of(tmp_path, store).round()
    assert names(tmp_path / "bundles") == sorted([f"{used}.zip", f"{fresh}.zip"])
    store.close()


def test_a_bundle_whose_revision_is_about_to_come_stays_at_any_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "UNDER_WAY_S", 3600.0)
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    bundles = BundleStore(tmp_path / "bundles")
    fresh, old = (bundles.put({"graph.yaml": name}) for name in (b"a", b"b"))
    for name, age in ((fresh, 1800), (old, 7200)):
        os.utime(bundles.path(name), (time.time() - age,) * 2)
    housekeeping_of(tmp_path, store, ANABRANCH_BUNDLE_AGE="0").round()
    assert bundles.digests() == {fresh}
    store.close()


def test_environments_that_nothing_that_runs_uses_go_when_they_are_old(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    bundles = BundleStore(tmp_path / "bundles")
    old, kept = [], []
    for name, asks in {"runs": b"numpy", "gone": b"scipy", "plain": None}.items():
        files = {"graph.yaml": name.encode()} | ({} if asks is None else {REQUIREMENTS: asks})
        digest = bundles.put(files)
        store.ensure_revision(name, "spec", digest)
        if asks is not None:
            (kept if name == "runs" else old).append(key(asks, digest))
    store.ensure_revision("lost", "spec", "0" * 64)  # its bundle is not there
    store.change("gone", partial(operations.deleted, moment=Moment(1, 1)))
    folder = tmp_path / "environments"
    for name in (*old, *kept, "asked-just-now", "half-made"):
        (folder / name).mkdir(parents=True)
        if name != "half-made":
            (folder / name / "anabranch-complete").touch()
    for name in (*old, *kept):
        os.utime(folder / name / "anabranch-complete", (1, 1))
    os.utime(folder / "half-made", (1, 1))
    housekeeping_of(tmp_path, store).round()
    assert names(folder) == sorted([*kept, "asked-just-now"])
    store.close()


def test_old_revisions_that_do_not_run_leave_the_record_with_all_that_is_theirs(
    tmp_path: Path,
) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    bundles = BundleStore(tmp_path / "bundles")
    moment = Moment(1, 1)
    for number in range(1, 10):
        digest = bundles.put({"graph.yaml": b"%d" % number})
        os.utime(bundles.path(digest), (1, 1))
        store.ensure_revision("g", "spec", digest)
        came = operations.arrived if number <= 2 else partial(operations.failed, reason="x")
        store.change("g", partial(came, moment=moment, number=number))
    with store.database.write() as connection:
        common = {"router": "split", "state": "{}", "updated_at": 1.0}
        rows = [{"graph": g, "revision": n, **common} for g in "gh" for n in range(1, 10)]
        connection.execute(experiments.insert(), rows)
    store.change("g", partial(operations.expired, moment=Moment(1000, 1)))
    housekeeping_of(tmp_path, store, ANABRANCH_MAX_REVISIONS="3").round()
    assert [one.number for one in store.revisions("g")] == [9, 8, 7, 2, 1]
    c = experiments.c
    with store.database.read() as connection:
        kept = connection.execute(sa.select(c.graph, c.revision).order_by(c.graph, c.revision))
        assert [tuple(one) for one in kept] == [
            *(("g", number) for number in (1, 2, 7, 8, 9)),
            *(("h", number) for number in range(1, 10)),
        ]
    assert len(names(tmp_path / "bundles")) == 5
    assert store.previous("g") == 1
    assert store.ensure_revision("g", "spec", "d")[0].number == 10
    store.close()


def test_old_events_go_and_those_beyond_the_bound(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    for number in range(6):
        store.log("g", None, "noted", str(number))
    housekeeping_of(tmp_path, store, ANABRANCH_MAX_EVENTS="4").round()
    assert [one.message for one in store.events()] == ["2", "3", "4", "5"]
    housekeeping_of(tmp_path, store, ANABRANCH_EVENT_AGE="0").round()
    assert store.events() == []
    store.close()


def test_an_event_that_a_webhook_has_still_to_hear_of_stays(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.log("g", None, "noted", "told")
    store.log("g", None, "noted", "untold")
    with store.database.write() as connection:
        told = {"event_id": 2, "url": "http://x", "due_at": 0.0, "attempts": 0}
        connection.execute(outbox.insert().values(told))
    housekeeping_of(tmp_path, store, ANABRANCH_EVENT_AGE="0").round()
    assert [one.message for one in store.events()] == ["untold"]
    store.close()


def test_models_that_no_bundle_pins_go_when_they_are_old(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    bundles = BundleStore(tmp_path / "bundles")
    pinned, stray, fresh = (sha256(name).hexdigest() for name in (b"a", b"b", b"c"))
    for name, digest in {b"a": pinned, b"b": stray, b"c": fresh}.items():
        bundles.blobs.receive(digest, 1, 0, name, 1)
    pins = {"s3://m/a": BundledArtefact("a.onnx", pinned, 1).to_json()}
    bundles.put({MANIFEST: json.dumps({"spec": "graph.yaml", "artefacts": pins}).encode()})
    for digest in (pinned, stray):
        os.utime(bundles.blobs.path(digest), (1, 1))
    housekeeping_of(tmp_path, store).round()
    assert bundles.blobs.digests() == {pinned, fresh}
    store.close()


def test_a_bundle_that_is_put_again_is_as_good_as_new(tmp_path: Path) -> None:
    store, bundles = (
        new_store(f"sqlite:///{tmp_path / 'store.db'}"),
        BundleStore(tmp_path / "bundles"),
    )
    name = bundles.put({"graph.yaml": b"a"})
    os.utime(bundles.path(name), (1, 1))
    bundles.put({"graph.yaml": b"a"})
    housekeeping_of(tmp_path, store).round()
    assert bundles.path(name).is_file()
    store.close()


def test_logs_are_kept_within_their_bounds(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker.err").write_bytes(bytes(200_000))
    housekeeping_of(tmp_path, store).round()
    assert "were left out" in (tmp_path / "logs" / "worker.err").read_text()
    store.close()


def test_what_fails_keeps_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def no_ray() -> Path:
        raise Unavailable("this process is not connected to Ray")

    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.ensure_revision("digits", "spec", "d")
    settings = Settings.from_env({"ANABRANCH_HOME": str(tmp_path)})
    with caplog.at_level(logging.WARNING, "anabranch.control"):
        Housekeeping(settings, store, SigningKeys(store.database), no_ray).round()
    assert "has to wait: this process is not connected to Ray" in caplog.text
    assert has_in_the_file_alone(tmp_path / "store.db", 1)
    store.close()


def test_unused_bundles_go_beyond_their_total_but_none_that_was_just_put(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    bundles = BundleStore(tmp_path / "bundles")
    used, oldest, older, fresh = (
        bundles.put({"graph.yaml": name * 1000}) for name in (b"a", b"b", b"c", b"d")
    )
    now = time.time()
    for name, age in ((used, 3000), (oldest, 2000), (older, 1000)):
        os.utime(bundles.path(name), (now - age, now - age))
    store.ensure_revision("digits", "spec", used, force=True)
    size = sum(bundles.size(name) for name in (used, older, fresh))
    housekeeping_of(tmp_path, store, ANABRANCH_BUNDLE_TOTAL=str(size)).round()
    assert names(tmp_path / "bundles") == sorted(f"{one}.zip" for one in (used, older, fresh))
    housekeeping_of(tmp_path, store, ANABRANCH_BUNDLE_TOTAL="0").round()
    assert names(tmp_path / "bundles") == sorted(f"{one}.zip" for one in (used, fresh))
    store.close()


def test_unused_environments_go_beyond_their_total_but_none_that_was_just_asked_for(
    tmp_path: Path,
) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    folder, now = tmp_path / "environments", time.time()
    for name, age in (("oldest", 3000), ("older", 2000), ("fresh", 0)):
        (folder / name).mkdir(parents=True)
        (folder / name / "lib").write_bytes(b"x" * 2**20)
        complete = folder / name / "anabranch-complete"
        complete.touch()
        os.utime(complete, (now - age, now - age))
    housekeeping_of(tmp_path, store, ANABRANCH_ENVIRONMENT_TOTAL=str(2.5 * 2**20)).round()
    assert names(folder) == ["fresh", "older"]
    housekeeping_of(tmp_path, store, ANABRANCH_ENVIRONMENT_TOTAL="0").round()
    assert names(folder) == ["fresh"]
    store.close()


def test_old_revisions_leave_the_record_but_for_the_last_that_was_stable(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    for number in range(1, 5):
        store.ensure_revision("g", "spec", "d", force=True)
        arrived = partial(operations.arrived, moment=Moment(number, 1), number=number)
        store.change("g", arrived)
    store.change("g", partial(operations.expired, moment=Moment(1000, 1)))
    assert [one.state for one in store.revisions("g")] == ["live", "retired", "retired", "retired"]
    housekeeping_of(tmp_path, store).round()
    assert len(store.revisions("g")) == 4
    housekeeping_of(tmp_path, store, ANABRANCH_REVISION_AGE="3600").round()
    assert [one.number for one in store.revisions("g")] == [4, 3]
    store.close()


def test_what_is_kept_is_told_with_its_bounds(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_bytes(b"x" * 10_000)
    name = BundleStore(tmp_path / "bundles").put({"graph.yaml": b"a"})
    housekeeping = housekeeping_of(tmp_path, store, ANABRANCH_MAX_EVENTS="7")
    events, *others = housekeeping.kept()
    assert (events.count, events.oldest, events.bytes, events.most) == (0, None, None, 7)
    assert {one.what: one.count for one in others} == {
        "revisions": 0, "bundles": 1, "models": 0, "environments": 0, "logs": 1,
    }  # fmt: skip
    store.ensure_revision("g", "spec", name, force=True)
    events, revisions, bundles, _, environments, logs = housekeeping.kept()
    assert (events.count, events.age, events.oldest) == (1, 90 * 86400.0, store.events()[0].at)
    assert (revisions.count, revisions.oldest) == (1, store.revisions("g")[0].created_at)
    assert bundles.bytes == (tmp_path / "bundles" / f"{name}.zip").stat().st_size
    assert (bundles.age, bundles.most_bytes) == (3600.0, math.inf)
    assert (environments.bytes, environments.oldest) == (0, None)
    assert (logs.bytes or 0) >= 10_000 and logs.oldest is not None
    assert (logs.most, logs.most_bytes) == (10_000, 2**30)
    store.close()


def test_machines_of_a_cluster_are_told_what_to_keep(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    bundles = BundleStore(tmp_path / "bundles")
    running = bundles.put({"graph.yaml": b"a", REQUIREMENTS: b"six\n"})
    fresh = bundles.put({"graph.yaml": b"b", REQUIREMENTS: b"toml\n"})
    store.ensure_revision("g", "spec", running, force=True)
    told: list[tuple[Needed, frozenset[str]]] = []
    settings = Settings.from_env({"ANABRANCH_HOME": str(tmp_path)})
    keys = SigningKeys(store.database)
    one = Housekeeping(settings, store, keys, lambda: tmp_path, lambda *given: told.append(given))
    one.round()
    store.close()
    ((needed, digests),) = told
    assert needed.bundles == digests == {running, fresh}
    assert needed.running == {running: b"six\n"}
    assert needed.most == math.inf
    assert needed.before < needed.spared <= time.time()
