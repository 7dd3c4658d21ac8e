"""When ``anabranch run`` deploys again, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.cli.commands.run import Session, _versions
from anabranch.client.bundle.packing import max_bytes, pack
from anabranch.client.client import ControlClient
from anabranch.control.lifecycle import operations
from anabranch.errors import Conflict, DeployError
from tests.cli.conftest import Served
from tests.control.control_api import ROLLOUT, SPEC

HOME = Path("/nowhere")


def digest(spec: Path) -> str:
    return pack(spec, max_bytes(), HOME).digest


def test_a_change_from_before_watching_began_is_not_missed(tmp_path):
    spec = tmp_path / "graph.yaml"
    spec.write_text("one")
    sent = digest(spec)
    spec.write_text("two")
    assert next(_versions(spec, HOME, sent)) == digest(spec)


def test_only_what_the_bundle_holds_counts(tmp_path):
    spec = tmp_path / "graph.yaml"
    spec.write_text("one")
    versions = _versions(spec, HOME, "what was sent before")
    first = next(versions)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "code.pyc").write_bytes(b"x")
    (tmp_path / "components.py").write_text("two")
    assert first != next(versions) == digest(spec)


def test_a_folder_of_which_no_bundle_is_made_is_told_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_MAX_BUNDLE", "1000")
    spec, large = tmp_path / "graph.yaml", tmp_path / "large.bin"
    spec.write_text("one")
    told: list[str] = []

    def mended(text: str) -> None:
        told.append(text)
        large.write_bytes(b"x")

    monkeypatch.setattr("anabranch.cli.commands.run.note", mended)
    versions = _versions(spec, HOME, "what was sent before")
    next(versions)
    large.write_bytes(b"x" * 2000)
    assert next(versions) == digest(spec)
    assert told[0].startswith("error: the bundle is over the limit")


@pytest.fixture
def client(engine: Served) -> Iterator[ControlClient]:
    with ControlClient.of_home(engine.home) as client:
        yield client


def deploy(engine: Served, session: Session, spec: str = SPEC) -> None:
    session.deploy(Path(engine.file(spec)), 30)


def stands(engine: Served) -> tuple[str, int | None]:
    now = engine.store.situation("digits").situation
    return now.state, now.stable


def test_a_graph_that_was_not_there_is_deleted(engine: Served, client: ControlClient) -> None:
    session = Session(client, "digits", engine.home)
    deploy(engine, session)
    deploy(engine, session)
    assert stands(engine) == ("present", 2)
    session.put_back()
    assert stands(engine) == ("deleting", None)


@pytest.mark.parametrize("warm", [True, False])
def test_the_revision_that_was_live_is_so_again(
    engine: Served, client: ControlClient, warm: bool
) -> None:
    engine.up(2)
    session = Session(client, "digits", engine.home)
    deploy(engine, session)
    if not warm:
        engine.expire()
    session.put_back()
    assert stands(engine) == ("present", 2)


def test_a_deploy_that_failed_changed_nothing(engine: Served, client: ControlClient) -> None:
    engine.up(2)
    engine.failure = "no such file"
    session = Session(client, "digits", engine.home)
    with pytest.raises(DeployError, match="no such file"):
        deploy(engine, session)
    session.put_back()
    assert stands(engine) == ("present", 2)
    assert [one.kind for one in engine.store.events("digits", limit=1000)][-1] == "deploy_failed"


def test_a_file_that_has_become_another_graph_s_is_not_deployed(
    engine: Served, client: ControlClient
) -> None:
    session = Session(client, "digits", engine.home)
    deploy(engine, session)
    with pytest.raises(Conflict, match="has graph 'other' now, and this command serves 'digits'"):
        deploy(engine, session, SPEC.replace("NAME", "other"))
    assert [one["graph"] for one in client.graphs()] == ["digits"]


def test_ctrl_c_before_the_engine_has_answered_undoes_the_deploy_too(
    engine: Served, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(client, "digits", engine.home)
    sent = client.deploy

    def interrupted(*given: object, **more: object) -> None:
        sent(*given, **more)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "deploy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deploy(engine, session)
    session.put_back()
    assert stands(engine) == ("deleting", None)


def test_a_session_that_deployed_nothing_puts_nothing_back(
    engine: Served, client: ControlClient
) -> None:
    Session(client, "digits", engine.home).put_back()
    assert client.graphs() == []


@pytest.mark.parametrize("existed", [False, True])
def test_nothing_is_put_back_over_another_s_revision(
    engine: Served, client: ControlClient, capsys: pytest.CaptureFixture[str], existed: bool
) -> None:
    engine.up(int(existed))
    session = Session(client, "digits", engine.home)
    deploy(engine, session)
    other = int(engine.deploy()[1]["revision"])
    engine.arrive(other)
    deploy(engine, session)
    session.put_back()
    assert stands(engine) == ("present", other + 1)
    assert f"somebody else has deployed r{other}" in capsys.readouterr().err


def test_a_graph_that_somebody_deleted_stays_so(engine: Served, client: ControlClient) -> None:
    session = Session(client, "digits", engine.home)
    deploy(engine, session)
    engine.call("DELETE", "/graphs/digits")
    engine.change("digits", operations.gone)
    session.put_back()
    assert stands(engine) == ("deleted", None)


def test_a_graph_that_never_was_up_is_as_good_as_none(
    engine: Served, client: ControlClient
) -> None:
    engine.deploy()
    engine.fail(1, "no such file")
    session = Session(client, "digits", engine.home)
    deploy(engine, session)
    session.put_back()
    assert stands(engine) == ("deleting", None)


@pytest.mark.parametrize("how", ["canary", "coming", "unloaded", "first"])
def test_a_graph_that_could_not_be_put_back_is_not_touched(
    engine: Served, client: ControlClient, how: str
) -> None:
    if how != "first":
        engine.up(2)
    if how == "unloaded":
        engine.call("POST", "/graphs/digits/unload")
    elif how == "canary":
        engine.send("PUT", "/graphs/digits/traffic", {"weights": {"1": 10, "2": 90}})
    else:
        engine.deploy()
    with pytest.raises(Conflict, match="could not put that back"):
        Session(client, "digits", engine.home)


def test_run_replaces_whatever_the_rollout_block_says(
    engine: Served, client: ControlClient
) -> None:
    session = Session(client, "digits", engine.home)
    for number in (1, 2):
        deploy(engine, session, SPEC + ROLLOUT)
        assert stands(engine) == ("present", number)


def test_deleting_asks_on_a_terminal_and_wants_yes_elsewhere(
    engine: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.up(1)
    refused = engine.run("delete", "digits")
    assert refused.exit_code == 2 and "--yes" in refused.output
    monkeypatch.setattr("anabranch.cli.terminal.is_terminal", lambda: True)
    assert engine.run("delete", "digits", "--no-wait", answers="n\n").exit_code == 1
    assert stands(engine) == ("present", 1)
    assert engine.run("delete", "digits", "--no-wait", answers="y\n").exit_code == 0
    assert stands(engine) == ("deleting", None)
