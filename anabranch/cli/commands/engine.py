"""``up``, ``down``, ``doctor`` and ``run``: commands that start, stop and examine engines."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from anabranch.cli import options
from anabranch.cli.remote import own_home
from anabranch.cli.terminal import note, progress, result, result_json, table, warn
from anabranch.errors import AnabranchError, EngineError

if TYPE_CHECKING:
    from anabranch.client.connection.engine_state import EngineInfo
    from anabranch.control.engine.launch import EngineOptions


_OF_RAY = ("dashboard_port", "dashboard_host", "object_store", "labels", "resources", "standby")
"""Options of `up` about Ray itself."""


def up(
    ctx: typer.Context,
    home: options.Home = None,
    host: options.Host = "127.0.0.1",
    http_port: options.HttpPort = 8000,
    grpc_port: options.GrpcPort = 9000,
    dashboard_port: options.DashboardPort = 8265,
    dashboard_host: options.DashboardHost = "127.0.0.1",
    max_body: options.MaxBody = "64MiB",
    object_store: options.ObjectStore = "512MiB",
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    client_ca: options.ClientCa = None,
    anonymous: options.Anonymous = "",
    labels: options.Labels = "",
    resources: options.Resources = "",
    ingress: options.IngressRule = "",
    autoscaling: options.Autoscaling = False,
    address: options.Address = "",
    output: options.Output = options.Format.TABLE,
    foreground: options.Foreground = False,
    standby: options.Standby = False,
) -> None:
    """Start an engine, with all graphs in its store; in the background, unless told otherwise."""
    folder = own_home(home)
    from anabranch.control.engine.launch import EngineOptions
    from anabranch.control.nodes.options import MachineOptions

    if address:
        _refuse_options_of_ray(ctx)
    wanted = EngineOptions(
        host, http_port, grpc_port, dashboard_port, max_body, dashboard_host,
        tls_cert, tls_key, client_ca, anonymous, ingress,
        MachineOptions(labels, resources, object_store), autoscaling, address,
    )  # fmt: skip
    info = _up(ctx, folder, wanted, standby)
    if output is options.Format.JSON:
        result_json(asdict(info))
    else:
        shown = {name.replace("_", " "): value for name, value in asdict(info).items()}
        result("\n".join(f"{name:<15}  {value}" for name, value in shown.items()))
        if not foreground:  # whose output is kept as a log
            note_sign_in(folder)

    if foreground:
        from anabranch.control.engine import engine, service

        note("the engine is up; Ctrl-C or SIGTERM takes it down")
        service.stay(folder, lambda: engine.down(folder))


def down(home: options.Home = None, output: options.Output = options.Format.TABLE) -> None:
    """Stop the engine. Its graphs stay in the store and come back with `up`."""
    folder = own_home(home)
    from anabranch.control.engine import engine

    with progress("stopping the engine"):
        stopped = engine.down(folder)
    text = f"the engine in {folder} is down" if stopped else f"no engine runs in {folder}"
    options.show({"stopped": stopped, "home": str(folder)}, output, lambda _: text)


def doctor(home: options.Home = None, output: options.Output = options.Format.TABLE) -> None:
    """Say what is wrong with the engine, where to look, and what to do; changes nothing.

    Exits with 1 if anything is wrong.
    """
    folder = own_home(home)
    from anabranch.control.engine.doctor import examine, ill

    with progress("examining the engine"):
        found = examine(folder)
    rows = [(one.part, "ill" if one.remedy else "well", one.state) for one in found]
    advice = [f"{one.part}: {one.remedy}" for one in ill(found)]
    text = "\n".join([table(("PART", "", "FINDING"), rows), *advice])
    options.show([asdict(one) for one in found], output, lambda _: text)
    if ill(found):
        raise typer.Exit(1)


def run(
    ctx: typer.Context,
    file: options.SpecFile,
    home: options.Home = None,
    host: options.Host = "127.0.0.1",
    http_port: options.HttpPort = 8000,
    grpc_port: options.GrpcPort = 9000,
    dashboard_port: options.DashboardPort = 8265,
    timeout: options.Timeout = 120.0,
    max_body: options.MaxBody = "64MiB",
    object_store: options.ObjectStore = "512MiB",
) -> None:
    """Serve a graph while you work on it: deploy it, print its logs, deploy every change.

    Starts an engine if none is running. Ctrl-C puts back what was there: the revision that was
    live before, or no graph; and it stops the engine if this command started it.
    """
    folder = own_home(home)
    from anabranch.cli.commands.run import serve_until_interrupted
    from anabranch.client.bundle.checks import open_complete
    from anabranch.client.connection.engine_state import read_state
    from anabranch.control.engine import engine
    from anabranch.control.engine.launch import EngineOptions
    from anabranch.control.nodes.options import MachineOptions

    # A shell that starts jobs in the background has them ignore Ctrl-C; then nothing would tidy up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name = open_complete(file, folder).graph.name
    state = read_state(folder)
    ours = state is None or not engine.is_running(state)
    machine = MachineOptions(object_store=object_store)
    wanted = EngineOptions(host, http_port, grpc_port, dashboard_port, max_body, machine=machine)
    try:
        note(f"the console is at {_up(ctx, folder, wanted).console}")
        note_sign_in(folder)
        serve_until_interrupted(name, file, folder, timeout)
    except KeyboardInterrupt:
        note("stopping")
    finally:
        if ours:
            engine.down(folder)


def note_sign_in(home: Path) -> None:
    """Print a link that logs in to the console, once; a warning without one."""
    from anabranch.client.client import ControlClient
    from anabranch.client.connection.engine_state import require_state

    try:
        with ControlClient.of_owner(home) as client:
            link = require_state(home).sign_in(client.sign_in_code())
    except AnabranchError as error:
        warn(f"there is no link that logs in to the console: {error}")
    else:
        note(f"log in to the console, once within ten minutes: {link}")


def _refuse_options_of_ray(ctx: typer.Context) -> None:
    """Raise EngineError if options were given that only a Ray of the engine's own has."""
    given = [f"--{name.replace('_', '-')}" for name in _OF_RAY if _is_given(ctx, name)]
    if given:
        raise EngineError(
            f"{', '.join(given)}: leave this out with --address, for it belongs to a Ray that the"
            " engine starts itself; `ray start` has such options for the one that runs"
        )


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _up(ctx: typer.Context, home: Path, wanted: EngineOptions, standby: bool = False) -> EngineInfo:
    from anabranch.control.engine.engine import up as start
    from anabranch.control.engine.joining.standby import stand_by

    with progress("starting the engine") as say:
        info = (stand_by if standby else start)(home, wanted, say=say, warn=warn)
    differ = _other_certificate(wanted, info) if ctx.params.get("tls_cert") else []
    if wanted.address and info.dashboard_token:
        differ.append("a Ray of its own, not that of --address")
    _require_same(ctx, info, differ)
    return info


def _require_same(ctx: typer.Context, info: EngineInfo, differ: list[str]) -> None:
    """Raise EngineError if an engine that was up already has other ports than were asked for.

    ``differ`` says in what else it differs.
    """
    runs = {"http_port": info.http, "grpc_port": f"//{info.grpc}", "dashboard_port": info.dashboard}
    for name, url in runs.items():
        port = urlsplit(url).port
        if _is_given(ctx, name) and ctx.params[name] != port:
            differ.append(f"--{name.replace('_', '-')} {port}, not {ctx.params[name]}")
    if differ:
        raise EngineError(
            f"the engine in {info.home} runs already, with {'; '.join(differ)}: leave the option "
            "out, or stop the engine first with `anabranch down`"
        )


def _other_certificate(wanted: EngineOptions, info: EngineInfo) -> list[str]:
    """Return in what an engine's certificate differs from the one that was asked for."""
    from anabranch.control.settings.tls import in_force
    from anabranch.serve.edge.tls.certificates import load

    files = wanted.tls()
    if not info.http.startswith("https:") or files is None:
        return ["no --tls-cert"]
    known = in_force(Path(info.home)).trusted.read_text()
    return [] if load(files).server in known else ["another certificate than that of --tls-cert"]
