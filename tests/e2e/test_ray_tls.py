"""An engine whose Ray speaks TLS: its processes know each other by certificates of an authority."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority, client
from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
CODE = """
class Same:
    def transform(self, x):
        return x
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def own(authority: Authority) -> Iterator[Engine]:
    files = authority.issue("machine")
    env = {
        "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": str(files.cert),
        "RAY_TLS_SERVER_KEY": str(files.key), "RAY_TLS_CA_CERT": str(authority.file),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        engine = Engine(Path(folder) / "home", env)
        try:
            engine.up()
            yield engine
        finally:
            engine.down()


def test_graphs_are_served_and_rays_gcs_wants_a_certificate(
    own: Engine, authority: Authority, tmp_path: Path
) -> None:
    apart = node("Same", "near", placement={"isolate": True})
    Given(own, tmp_path).deployed(spec("served", near=node("Same"), far=apart), CODE)
    assert value(own.infer("served")) == [1.0, 2.0]
    doctor = own.command("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert own.state is not None
    host, port = own.state.address.split(":")
    known = authority.issue("other", file="other")
    assert answers(host, int(port), client(authority, known, "h2"))
    assert not answers(host, int(port), client(authority, None, "h2"))


def answers(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether a server of HTTP/2 begins a conversation; without a certificate it hangs up."""
    with (
        socket.create_connection((host, port), 20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        try:
            return tls.recv(9) != b""
        except OSError:
            return False
