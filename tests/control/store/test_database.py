from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.control.store import database as databases
from anabranch.control.store.database import Database
from anabranch.control.store.schema import graphs
from anabranch.control.store.soundness import graphs_in, require_sound
from anabranch.control.store.store import Store
from anabranch.errors import EngineError, StorageError, Unavailable
from tests.disks import fill, small_disk


@pytest.mark.parametrize(
    "url", ["nonsense", "nosuchdialect://x/y", "", "postgresql://ada:secret@here:port/x"]
)
def test_a_bad_url_is_named(url: str) -> None:
    with pytest.raises(EngineError, match="cannot open the store") as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_other_databases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_CONFIGURE", {})
    with pytest.raises(EngineError, match="sqlite is not supported; use a URL that begins with"):
        Store.open("sqlite://")


def test_a_missing_driver_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(EngineError, match=r"anabranch\[postgres\]"):
        Store.open("postgresql://127.0.0.1:1/x")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server_that_is_not_there(scheme: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(EngineError, match="cannot open the store: the store does not answer") as e:
        Store.open(f"{scheme}://ada:secret@127.0.0.1:1/x")
    assert "secret" not in str(e.value) and "\n" not in str(e.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database" * 100)
    with pytest.raises(EngineError, match=r"cannot open the store: .*not a database"):
        Store.open(f"sqlite:///{tmp_path / 'store.db'}")


def test_a_lost_connection_is_unavailable_and_comes_back(url: str, store: Store) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no connection to lose")
    store.ensure_revision("digits", "spec", "d")
    other = Store.open(url)

    def cut_off(connection: sa.Connection) -> None:
        mine = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with other.database.write() as killer:
            killer.execute(sa.text(f"SELECT pg_terminate_backend({mine})"))

    with pytest.raises(Unavailable, match="does not answer"), store.database.write() as connection:
        cut_off(connection)
        connection.execute(graphs.delete())
    with pytest.raises(Unavailable), store.database.read() as connection:
        cut_off(connection)
        connection.execute(sa.select(graphs))
    assert store.situation("digits").generation == 1
    other.close()


def test_a_writer_that_waits_too_long_gives_up(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.ensure_revision("digits", "spec", "d")
    monkeypatch.setattr(databases, "BUSY_TIMEOUT", 0.05)
    impatient = Store.open(url)
    row = sa.select(graphs).with_for_update()
    with store.database.write() as connection:
        connection.execute(row)
        with pytest.raises(Unavailable), impatient.database.write() as waiting:
            waiting.execute(row)
    with impatient.database.write() as connection:
        connection.execute(row)
    impatient.close()


def test_readers_see_one_moment_and_wait_for_nobody(url: str, store: Store) -> None:
    store.ensure_revision("digits", "spec", "d")
    count = sa.select(sa.func.count()).select_from(graphs)
    other = Store.open(url)
    with store.database.read() as reading:
        assert reading.scalar(count) == 1
        other.ensure_revision("iris", "spec", "d")
        assert reading.scalar(count) == 1
        with other.database.write() as writing:
            writing.execute(graphs.update().values(state="deleted"))
            assert reading.scalar(count) == 1
    with store.database.read() as reading:
        assert reading.scalar(count) == 2
    other.close()


def test_what_raises_inside_changes_nothing_and_comes_through(store: Store) -> None:
    store.ensure_revision("digits", "spec", "d")
    with pytest.raises(KeyError), store.database.write() as connection:
        connection.execute(graphs.update().values(state="deleted"))
        raise KeyError
    assert store.situation("digits").situation.state == "present"


def test_our_own_mistakes_are_not_called_unavailable(store: Store) -> None:
    with pytest.raises(sa.exc.IntegrityError), store.database.write() as connection:
        for _ in range(2):
            connection.execute(graphs.insert().values(name="a", state="present", created_at=0.0))


def test_a_store_in_memory() -> None:
    database = Database.open("sqlite://")
    with database.write() as connection:
        connection.execute(graphs.insert().values(name="a", state="present", created_at=0.0))
    with database.read() as connection:
        assert connection.scalar(sa.select(graphs.c.name)) == "a"
    database.close()


def level(connection: sa.Connection) -> int:
    found: int = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    return found


def test_what_is_acknowledged_survives_a_loss_of_power(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'store.db'}")
    full, normal = 2, 1
    for durable, expected in ((True, full), (False, normal), (True, full)):
        with database.write(durable=durable) as connection:
            assert level(connection) == expected
    database.close()


def test_a_checkpoint_brings_all_into_the_file_beside_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{path}")
    store.ensure_revision("digits", "spec", "d")
    assert graphs_in(copied(path)) == 0
    with store.database.read() as reading:
        reading.execute(sa.select(graphs))
        store.database.checkpoint()
        assert graphs_in(copied(path)) == 1
    store.close()


def copied(path: Path) -> Path:
    """The file alone, without its log."""
    return Path(shutil.copy(path, path.with_name("alone.db")))


def test_a_checkpoint_is_no_business_of_ours_elsewhere(url: str, store: Store) -> None:
    store.database.checkpoint()
    store.ensure_revision("digits", "spec", "d")
    assert len(store.situations()) == 1


def test_a_full_disk_is_named_and_the_store_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", 512 * 1024) as home:
        store = Store.open(f"sqlite:///{home / 'store.db'}")
        store.ensure_revision("digits", "spec", "d")
        ballast = fill(home)
        with pytest.raises(StorageError) as caught:
            for _ in range(100):  # what the log has room for
                store.ensure_revision("digits", "spec " * 1000, "d", force=True)
        assert str(caught.value) == (
            f"the store takes no change: database or disk is full; {home} has 0 bytes free"
        )
        before = len(store.revisions("digits"))
        assert store.situation("digits").situation.state == "present"
        ballast.unlink()
        store.ensure_revision("digits", "spec " * 1000, "d", force=True)
        assert len(store.revisions("digits")) == before + 1
        store.close()
        assert require_sound(home / "store.db") == []


def test_a_damaged_file_says_the_way_back(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database" * 100)
    with pytest.raises(EngineError, match=r"store\.db is damaged; .*anabranch restore FILE"):
        Store.open(f"sqlite:///{tmp_path / 'store.db'}")
