"""Ports of an engine: its own, whatever else is on the machine."""

import socket

import pytest

from anabranch.control.engine import ports
from anabranch.errors import EngineError


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_two_claims_share_no_port():
    one, two = ports.claim("same home"), ports.claim("same home")
    try:
        used = [{*block.fixed.values(), *block.workers} for block in (one, two)]
        assert not used[0] & used[1]
        assert one.guard.getsockname() != two.guard.getsockname()
    finally:
        one.guard.close()
        two.guard.close()


def test_ranges_of_one_block_do_not_overlap():
    block = ports.claim("a home")
    block.guard.close()
    singles = set(block.fixed.values())
    assert len(singles) == len(ports.FIXED)
    assert not singles & set(block.workers)


def test_a_block_is_free_again_once_its_guard_is_closed():
    first = ports.claim("a home")
    base = first.guard.getsockname()
    first.guard.close()
    second = ports.claim("a home")
    second.guard.close()
    assert second.guard.fileno() == -1
    assert first.fixed == second.fixed and base[1] in ports.BLOCKS


def test_a_port_in_use_is_named_with_its_option(listener):
    port = listener.getsockname()[1]
    with pytest.raises(EngineError, match=rf"port {port} .* --http-port"):
        ports.require_free("127.0.0.1", {"--http-port": port})


def test_an_address_of_another_machine_is_no_port_in_use():
    with pytest.raises(EngineError) as raised:
        ports.require_own("--host", "203.0.113.7")
    said = str(raised.value)
    assert said.startswith("--host is 203.0.113.7, which is no address of this machine; it has ")
    assert "127.0.0.1" in said and said.endswith("; 0.0.0.0 stands for all")
    ports.require_own("--host", "127.0.0.1")
    ports.require_own("--host", "0.0.0.0")


def test_one_port_for_two_options_is_refused():
    with pytest.raises(EngineError, match="--http-port and --grpc-port are both 18999"):
        ports.require_free("127.0.0.1", {"--http-port": 18999, "--grpc-port": 18999})


def test_the_port_of_the_gcs_is_known_where_nobody_has_claimed_the_block():
    def claimed(seed):
        wanted = ports.first_gcs_port(seed)
        if not ports.is_free("0.0.0.0", wanted):
            return None
        block = ports.claim(seed)
        with block.guard:
            is_first = block.guard.getsockname()[1] == wanted - 1
            return block.fixed["gcs"] == wanted if is_first else None

    found = [claimed(str(seed)) for seed in range(50)]
    assert True in found and False not in found
