"""What an engine is started with: its options, environment variables, and arguments of Ray."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anabranch.client.connection.engine_state import RAY_TOKEN_FILE, EngineState
from anabranch.control.access.authority import certificates_environment, make_certificates
from anabranch.control.engine import flags, ports
from anabranch.control.engine.runtime import RAY, TEMPORARY
from anabranch.control.engine.tokens import ensure_token
from anabranch.control.nodes.options import MachineOptions, size
from anabranch.control.nodes.shared import SHARED, shared_names
from anabranch.control.settings import tls
from anabranch.errors import EngineError
from anabranch.serve.edge.binary import haproxy_binary, haproxy_problem
from anabranch.serve.edge.tls.certificates import TlsFiles
from anabranch.serve.sockets import SOCKETS

Say = Callable[[str], None]


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine's start. Sizes are such as 64MiB."""

    http_host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 9000
    dashboard_port: int = 8265
    max_body: str = "64MiB"
    dashboard_host: str = "127.0.0.1"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    anonymous: str = ""
    """Roles of callers without a key; empty for those of the settings."""
    ingress: str = ""
    """Machines that take requests; empty for those of the settings."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    autoscaling: bool = False
    """Whether machines may be added, for which revisions wait then."""
    address: str = ""
    """The Ray on which the engine is, as ``auto`` or host:port; empty for one of its own."""

    def tls(self) -> TlsFiles | None:
        """The files of certificates, those too that variables name; EngineError for a part."""
        given = (self.tls_cert, self.tls_key, self.client_ca)
        names = zip((tls.CERT, tls.KEY, tls.CLIENT_CA), given, strict=True)
        return tls.tls_files({**os.environ, **{name: str(path) for name, path in names if path}})

    def host(self) -> str:
        """The host as an IPv4 address; EngineError if it is none."""
        return _address("--host", self.http_host)

    def dashboard(self) -> str:
        """The host of the Ray dashboard, likewise."""
        return _address("--dashboard-host", self.dashboard_host)

    def is_loopback(self) -> bool:
        """Return whether nothing outside this machine may reach the engine."""
        return ipaddress.IPv4Address(self.host()).is_loopback

    def ports(self) -> dict[str, int]:
        """The ports at which clients reach the engine, by their options."""
        return {"--http-port": self.http_port, "--grpc-port": self.grpc_port}

    def reached_at(self) -> str:
        """The address at which this machine reaches the engine."""
        return reached_at(self.host())


def _address(option: str, text: str) -> str:
    try:
        return str(ipaddress.IPv4Address("127.0.0.1" if text == "localhost" else text))
    except ValueError:
        raise EngineError(
            f"{option} {text!r} is not an IPv4 address such as 127.0.0.1 or 0.0.0.0"
        ) from None


def reached_at(host: str) -> str:
    """The address at which this machine reaches a server that listens on ``host``."""
    return "127.0.0.1" if host == "0.0.0.0" else host


def environment(
    home: Path, options: EngineOptions, state: EngineState, block: ports.PortBlock, warn: Say
) -> dict[str, str]:
    """The environment of all processes of an engine; ``warn`` hears of what may surprise."""
    if not options.is_loopback():
        warn(
            f"{options.http_host} can be reached from other machines, and so can the ports of"
            " Ray, whose token travels unencrypted: let only trusted machines through to this one"
        )
        warn(anonymous_text(options.anonymous))
    if not ipaddress.IPv4Address(options.dashboard()).is_loopback:
        warn(
            f"the Ray dashboard on {options.dashboard_host} runs code for whoever has its token,"
            " which travels unencrypted: let only trusted machines through to it"
        )
    files = options.tls()
    ensure_token(home / RAY_TOKEN_FILE)
    if not options.is_loopback():
        make_certificates(home)
    env = {
        **machine_environment(
            home, state, block, options.is_loopback(), haproxy(warn, files is not None)
        ),
        **flags.gcs_environment(Path(state.runtime)),
        **told(options),
    }
    return {**env, SHARED: shared_names(env)}


def told(options: EngineOptions) -> dict[str, str]:
    """The settings that whoever starts an engine gives as options."""
    return {
        "ANABRANCH_HTTP_HOST": options.host(),
        "ANABRANCH_HTTP_PORT": str(options.http_port),
        "ANABRANCH_GRPC_PORT": str(options.grpc_port),
        **tls.tls_environment(options.tls()),
        "ANABRANCH_MAX_BODY": str(size("--max-body", options.max_body)),
        **({"ANABRANCH_AUTOSCALING": "1"} if options.autoscaling else {}),
        **({"ANABRANCH_ANONYMOUS": options.anonymous} if options.anonymous else {}),
        **({"ANABRANCH_INGRESS": options.ingress} if options.ingress else {}),
    }


def machine_environment(
    home: Path, state: EngineState, block: ports.PortBlock, loopback: bool, binary: str | None
) -> dict[str, str]:
    """The environment of all processes on one machine of an engine, as far as each makes its own.

    ``binary`` is the HAProxy of the machine's edge, None for none.
    """
    runtime = Path(state.runtime)
    return {
        **flags.base_environment(state.id, block, loopback, home / RAY_TOKEN_FILE),
        **flags.serve_environment(),
        **flags.zygote_environment(runtime),
        **flags.edge_environment(runtime / SOCKETS, binary),
        **({} if loopback else certificates_environment(home)),
        "TMPDIR": str(runtime / TEMPORARY),
        "ANABRANCH_HOME": str(home),
    }


def anonymous_text(roles: str) -> str:
    """Return what callers without a key may do at an address that others reach."""
    if roles in ("", "none"):
        return (
            "callers need keys there: `anabranch keys create NAME --role invoker` makes one, and"
            " `up --anonymous invoker,feedback` does without"
        )
    return f"whoever reaches the engine there has the roles {roles}, without a key"


def haproxy(warn: Say, needs_tls: bool) -> str | None:
    """The HAProxy of this machine, or None with a warning; EngineError where TLS needs it."""
    binary = haproxy_binary()
    problem = haproxy_problem(binary, needs_tls)
    if problem is None:
        return binary
    if needs_tls:
        raise EngineError(f"TLS needs HAProxy, which cannot run here: {problem}")
    warn(f"HAProxy cannot run here, so the slower gateway and front take its place: {problem}")
    return None


def head_arguments(options: EngineOptions, state: EngineState, block: ports.PortBlock) -> list[str]:
    """The arguments of Ray's command line that start the head of an engine."""
    wanted: dict[str, object] = {
        "--port": block.fixed["gcs"],
        "--dashboard-host": options.dashboard(),
        "--dashboard-port": options.dashboard_port,
        "--include-dashboard": "true",
        **machine_arguments(options.machine, state, block),
    }
    if options.host() != "0.0.0.0":
        wanted["--node-ip-address"] = options.host()
    return start_arguments(["--head", "--no-monitor"], wanted)


def machine_arguments(
    options: MachineOptions, state: EngineState, block: ports.PortBlock
) -> dict[str, object]:
    """The options of Ray's command line that start one machine of an engine, whichever it is."""
    fixed = block.fixed
    return {
        "--node-name": socket.gethostname(),
        "--object-manager-port": fixed["object_manager"],
        "--node-manager-port": fixed["node_manager"],
        "--dashboard-agent-listen-port": fixed["agent_http"],
        "--dashboard-agent-grpc-port": fixed["agent_grpc"],
        "--runtime-env-agent-port": fixed["runtime_env_agent"],
        "--metrics-export-port": fixed["metrics"],
        "--worker-port-list": ",".join(map(str, block.workers)),
        "--include-log-monitor": "false",
        "--temp-dir": Path(state.runtime) / RAY,
        **options.arguments(state.id),
    }


def start_arguments(words: Sequence[str], options: Mapping[str, object]) -> list[str]:
    """A command line of ``ray start`` in the foreground."""
    listed = [f"{option}={value}" for option, value in options.items()]
    return ["start", *words, "--block", "--disable-usage-stats", *listed]
