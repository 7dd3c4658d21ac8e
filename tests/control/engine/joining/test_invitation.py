"""What a machine asks of the engine that it joins, and what it keeps."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState
from anabranch.control.engine.joining.invitation import (
    Invitation,
    forget,
    joined,
    keep,
    own_address,
    require_reachable,
    url_of,
)
from anabranch.control.nodes.ticket import versions
from anabranch.errors import Conflict, EngineError
from tests.control.engine.joining.engines import TICKET, Head, head
from tests.ports import free_ports


@pytest.fixture
def engine() -> Iterator[Head]:
    with head() as one:
        yield one


def invitation(engine: Head) -> Invitation:
    return Invitation(engine.url, "the-key", "m1")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("engine.example:80", "http://engine.example:80"),
        ("https://engine:8443/", "https://engine:8443"),
    ],
)
def test_an_engine_is_given_by_its_address_or_its_url(given: str, url: str) -> None:
    assert url_of(given) == url


@pytest.mark.parametrize(
    "given",
    ["engine", "http://engine", "ftp://engine:1", "http://engine:1/v2", "http://engine:many",
     "http://me@engine:1", ":8000", "", "[::1"],
)  # fmt: skip
def test_what_is_no_address_is_told_with_one_that_is(given: str) -> None:
    with pytest.raises(EngineError, match=r"no address of an engine: give one such as 10\.0\.0\.1"):
        url_of(given)


def test_a_ticket_is_asked_for_with_the_key_and_the_versions(engine: Head) -> None:
    assert invitation(engine).ticket("10.0.0.3") == TICKET
    (asked,) = engine.asked
    assert (asked.method, asked.path) == ("POST", "/control/v1/nodes")
    assert asked.headers["authorization"] == "Bearer the-key"
    assert asked.json["versions"] == versions()
    assert (asked.json["address"], asked.json["machine"]) == ("10.0.0.3", "m1")


def test_what_the_engine_says_against_it_is_told(engine: Head) -> None:
    engine.refusals = [(409, "on loopback"), (403, "key ci may not administer")]
    with pytest.raises(Conflict, match="on loopback"):
        invitation(engine).ticket("10.0.0.3")
    with pytest.raises(EngineError, match="may not administer"):
        invitation(engine).ticket("10.0.0.3")


def test_a_machine_is_seen_while_it_is_no_lost_one(engine: Head) -> None:
    assert invitation(engine).seen() is None
    engine.know("m1", "draining")
    found = invitation(engine).seen()
    assert found is not None and found["state"] == "draining"
    engine.know("m1", "lost")
    assert invitation(engine).seen() is None


def test_an_engine_on_this_machine_s_loopback_is_none_for_others(engine: Head) -> None:
    with pytest.raises(EngineError, match="loopback: give the address at which other machines"):
        own_address(engine.url)


def test_closed_ports_are_told_with_their_address(engine: Head) -> None:
    (port,) = free_ports(1)
    place = f"127.0.0.1:{port}"
    with pytest.raises(EngineError, match=f"cannot reach {place}: the engine does not answer"):
        own_address(f"http://{place}")
    with pytest.raises(EngineError, match=f"cannot reach {place}: .*ports of Ray are closed"):
        require_reachable(place)
    require_reachable(engine.url.removeprefix("http://"))


def test_secrets_are_their_owner_s_alone_and_go_when_the_machine_leaves(tmp_path: Path) -> None:
    (tmp_path / "engine.json").touch()
    keep(tmp_path, "the-key", TICKET)
    found = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    secrets = ["", "ray-secret", "the-authority", "the-key", "the-node"]
    assert sorted(text.strip() for text in found.values()) == secrets
    for path, text in found.items():
        assert not text or not stat.S_IMODE(path.stat().st_mode) & 0o077
    keep(tmp_path, "the-key", TICKET)
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.json"]
    forget(tmp_path)


def test_the_state_says_where_the_engine_is(tmp_path: Path) -> None:
    state = EngineState("m1", "http://10.0.0.1:8000", "", "", "", "/r", joined=True)
    found = joined(state, TICKET)
    assert (found.grpc, found.address) == ("10.0.0.1:9009", "127.0.0.1:1")
