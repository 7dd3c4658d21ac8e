"""``serve``: answers requests for one graph in this process, without an engine."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.terminal import note, result, result_json, warn

if TYPE_CHECKING:
    from anabranch.graph.compile.loading import Loaded
    from anabranch.graph.plan.plan import Plan
    from anabranch.router.standalone.server import StandaloneServer

_CHATTY = ("httpx", "httpcore", "urllib3", "filelock", "fsspec", "botocore", "watchfiles")


def serve(
    source: options.GraphSource,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 or :: for all.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="Port for HTTP; 0 for any. [default: that of spec.serving, or 8080]",
            show_default=False,
        ),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            "--grpc-port",
            min=0,
            max=65535,
            help="Port for gRPC; 0 for any. [default: no gRPC]",
            show_default=False,
        ),
    ] = None,
    max_body: options.MaxBody = "64MiB",
    anonymous: options.Anonymous = "",
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            envvar="ANABRANCH_KEYS",
            help="File of keys, each a line: name, roles, and the key or sha256: and its digest.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve each change of the spec's folder.")
    ] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Serve one graph in this process, without an engine or Ray: the quickest way to try it.

    Ctrl-C or SIGTERM ends it, once the requests that have come are answered.
    """
    from anabranch.client.portable.sources import opened
    from anabranch.control.nodes.options import size
    from anabranch.router.limits import RequestLimits
    from anabranch.router.standalone.access import access_table
    from anabranch.router.standalone.process import run
    from anabranch.router.standalone.server import PORT, StandaloneOptions

    limits = RequestLimits.for_body(size("--max-body", max_body))
    table = access_table(host, anonymous, keys)

    def prepare(loaded: Loaded) -> StandaloneOptions:
        _warn(loaded)
        _write_logs(loaded.plan)
        own = loaded.plan.port or PORT
        return StandaloneOptions(host, own if port is None else port, grpc_port, limits, table)

    with opened(source) as (file, _):
        run(file, prepare, lambda server: _tell(server, host, output), note if watch else None)


def _tell(server: StandaloneServer, host: str, output: options.Format) -> None:
    """Say where the graph answers, and how to ask it."""
    plan, http = server.revision.plan, _url(host, server.port)
    grpc = None if server.grpc_port is None else _url(host, server.grpc_port, "")
    if output is options.Format.JSON:
        result_json({"graph": plan.name, "http": http, "grpc": grpc}, indent=None)
        return
    base = f"{http}/v2/models/{plan.name}"
    also = "" if grpc is None else f", and over gRPC at {grpc}"
    result(f"{plan.name} answers at {http}{also}; Ctrl-C ends it")
    request = _example(plan)
    if request is not None:
        result(f"  curl {base}/infer -d '{request}'")
    result(f"  {base}/docs has a page to try it")


def _url(host: str, port: int, scheme: str = "http://") -> str:
    """Return the address at which this machine reaches a server that listens on ``host``."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}[{here}]:{port}" if ":" in here else f"{scheme}{here}:{port}"


def _example(plan: Plan) -> str | None:
    """Return a request of zeros on one line; None where it would be too long to be of use."""
    from anabranch.router.http.openapi import request_example
    from anabranch.router.inference.contract import TensorMetadata

    inputs = [
        TensorMetadata(name, one.tensor.datatype, one.tensor.shape)
        for name, one in plan.inputs.items()
    ]
    text = json.dumps(request_example(inputs))
    return text if len(text) <= 512 and text != "null" and "'" not in text else None


def _warn(loaded: Loaded) -> None:
    """Say what the spec asks for that takes an engine, and what it needs that is not here."""
    for warning in loaded.plan.warnings:
        warn(str(warning))
    specs = {name: node.spec for name, node in loaded.plan.nodes.items()}
    nodes = [name for name, one in specs.items() if one.resources or one.scaling or one.placement]
    if nodes:
        note(
            "all nodes are in this process: resources, scaling and placement of "
            f"{', '.join(nodes)} count in an engine only"
        )
    kept = [name for name, one in specs.items() if one.cache or getattr(one, "watch", False)]
    if loaded.plan.cache is not None:
        kept = ["the graph", *kept]
    if kept:
        note(
            f"no answers are kept and no models are watched: cache and watch of {', '.join(kept)} "
            "count in an engine only"
        )


def _write_logs(plan: Plan) -> None:
    """Have this process log to stderr: in lines of JSON, but for a terminal."""
    from anabranch.telemetry.logs import JsonFormatter, Stamp

    handler = logging.StreamHandler()
    form: Any = logging.Formatter("%(levelname)s %(name)s: %(message)s")
    handler.setFormatter(form if sys.stderr.isatty() else JsonFormatter())
    handler.addFilter(Stamp(plan.name, ""))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in (*_CHATTY, "anabranch.graph.loading"):
        logging.getLogger(name).setLevel(logging.WARNING)
