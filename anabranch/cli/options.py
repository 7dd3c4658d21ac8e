"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli.completion import graph_names
from anabranch.cli.input import shares
from anabranch.cli.terminal import result, result_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.client.client import ControlClient


class Format(StrEnum):
    """The format in which a command prints its result on stdout."""

    TABLE = "table"
    JSON = "json"


def duration(text: Any) -> float:
    """Return the seconds of a duration such as 2m, or of a bare number.

    Raise BadParameter for any other text.
    """
    from anabranch.specs.units import parse_seconds

    if isinstance(text, float):
        return text
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def length(text: Any) -> str:
    """Return a duration as a spec has it; raise BadParameter for any other text."""
    from anabranch.specs.units import Duration

    return str(Duration(round(duration(text) * 1e9)))


def source(text: str) -> str:
    """Return the file of a graph, or a reference to a registry; raise BadParameter for neither."""
    if not (text.startswith("oci://") or Path(text).is_file()):
        fault = "is a folder: name the spec in it" if Path(text).is_dir() else "does not exist"
        raise typer.BadParameter(f"file {text!r} {fault}")
    return text


def folder_of(source: str) -> Path:
    """Return the folder of a graph's file; the working folder for what is elsewhere."""
    return Path() if source.startswith("oci://") else Path(source).resolve().parent


def show(found: Any, output: Format, text: Callable[[Any], str]) -> None:
    """Print a result as JSON, or as the text that ``text`` makes of it."""
    if output is Format.JSON:
        result_json(found)
    else:
        result(text(found))


def client(home: Path | None) -> ControlClient:
    """Return a client of a home's engine; raise EngineError if none is running there."""
    from anabranch.client.client import ControlClient
    from anabranch.client.connection.engine_state import resolve_home

    return ControlClient.of_home(resolve_home(home))


def _wait(default: str) -> Any:
    return typer.Option(
        "--timeout",
        parser=duration,
        metavar="DURATION",
        help=f"Longest wait, such as 30s. [default: {default}]",
        show_default=False,
    )


def listed(
    context: typer.Context,
    home: Path | None,
    output: Format,
    ask: Callable[[ControlClient], Any],
    text: Callable[[Any], str],
) -> None:
    """Print what an engine has, for a group of commands of which none is named."""
    if context.invoked_subcommand is None:
        with client(home) as one:
            show(ask(one), output, text)


Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="ANABRANCH_HOME",
        help="Folder of the engine: store, tokens, bundles, logs. [default: ~/.anabranch]",
        show_default=False,
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="Format of the result.")]
SpecFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The graph's spec in YAML.", exists=True, dir_okay=False),
]
GraphSource = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="The graph's spec in YAML, a portable bundle, or oci://host/name:tag.",
        parser=source,
    ),
]
SignKey = Annotated[
    Path | None,
    typer.Option(
        "--sign",
        metavar="KEY",
        help="Sign the bundle by the Ed25519 private key in this file, in PEM.",
    ),
]
BundleFile = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="A portable bundle.", exists=True, dir_okay=False)
]
Registry = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="Place in a registry: oci://host/name:tag.")
]
GraphName = Annotated[
    str, typer.Argument(metavar="GRAPH", help="Name of the graph.", autocompletion=graph_names)
]
AnyGraphName = Annotated[
    str | None,
    typer.Argument(
        metavar="GRAPH",
        help="Name of one graph; all graphs if left out.",
        autocompletion=graph_names,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        metavar="JSON|@FILE|@-",
        help="Values by input, such as '{\"x\": [[1, 2]]}', or a whole request of the Open"
        " Inference Protocol; inline, @file, or @- for stdin.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="One tensor: nested JSON lists, a text for BYTES, or @file.json or @file.npy."
        " Repeatable.",
    ),
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", "-H", metavar="NAME=VALUE", help="Header of the request. Repeatable."),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "-p",
        metavar="NAME=VALUE",
        help="Parameter of the request: JSON, or else text. Repeatable.",
    ),
]
Timeout = Annotated[float, _wait("2m")]
Leaving = Annotated[float, _wait("10m")]
Author = Annotated[
    str,
    typer.Option(
        "--author",
        help="Author of the revision, in its history. [default: git's user.name, else the user]",
        show_default=False,
    ),
]
Message = Annotated[
    str, typer.Option("--message", "-m", help="Reason for the revision, in its history.")
]
Canary = Annotated[
    float | None,
    typer.Option(
        "--canary",
        parser=shares.percent,
        metavar="PERCENT",
        help="Give the revision this share of the traffic, until `promote` or `abort`.",
    ),
]
Mirror = Annotated[
    float | None,
    typer.Option(
        "--mirror",
        parser=shares.percent,
        metavar="PERCENT",
        help="Give the revision copies of this share of the requests, and compare its answers.",
    ),
]
Rollout = Annotated[
    Any,
    typer.Option(
        "--rollout",
        parser=shares.steps,
        metavar="PERCENT,...",
        help="Move traffic to the revision in these steps, such as 5,25,50; other fields come from"
        " the spec's `rollout` block.",
    ),
]
Hold = Annotated[
    Any,
    typer.Option(
        "--hold",
        parser=length,
        metavar="DURATION",
        help="Shortest time of each step of --rollout, such as 2m.",
    ),
]
Now = Annotated[
    bool,
    typer.Option(
        "--now", help="Give the revision all traffic as soon as it is up, without a rollout."
    ),
]
HttpPort = Annotated[int, typer.Option("--http-port", min=1, max=65535, help="Port for HTTP.")]
Foreground = Annotated[
    bool,
    typer.Option(
        "--foreground",
        help="Stay until the engine ends, and exit with 1 if it ends by itself; for systemd and"
        " containers.",
    ),
]
Standby = Annotated[
    bool,
    typer.Option(
        "--standby",
        help="Wait until no other machine runs the engine of this store, and take its place;"
        " needs a store and a store of bundles that all machines reach.",
    ),
]
Autoscaling = Annotated[
    bool,
    typer.Option(
        "--autoscaling",
        help="Let revisions wait for resources that no machine has yet, since machines may be"
        " added.",
    ),
]
GrpcPort = Annotated[int, typer.Option("--grpc-port", min=1, max=65535, help="Port for gRPC.")]
DashboardPort = Annotated[
    int, typer.Option("--dashboard-port", min=1, max=65535, help="Port of the Ray dashboard.")
]
DashboardHost = Annotated[
    str,
    typer.Option(
        "--dashboard-host",
        help="IPv4 address on which the Ray dashboard listens. Its token travels unencrypted.",
    ),
]
Host = Annotated[
    str, typer.Option("--host", help="IPv4 address on which the engine listens; 0.0.0.0 for all.")
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        help="Certificate of the engine, in PEM, with those of intermediate authorities. The"
        " engine speaks nothing but TLS then, over HTTP and gRPC.",
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option("--tls-key", help="Key of the certificate, in PEM; closed to other users."),
]
ClientCa = Annotated[
    Path | None,
    typer.Option("--client-ca", help="Authorities whose certificates tell clients' names, in PEM."),
]
Anonymous = Annotated[
    str,
    typer.Option(
        "--anonymous",
        metavar="ROLE,...",
        help="Roles of callers without a key, or `none`. [default: invoker,feedback on loopback,"
        " none elsewhere]",
        envvar="ANABRANCH_ANONYMOUS",
        show_default=False,
    ),
]
IngressRule = Annotated[
    str,
    typer.Option(
        "--ingress",
        metavar="every|head|LABELS",
        help="Machines of a cluster that take requests, beside the head's: every one, none, or"
        " those with labels such as zone=north. [default: every]",
        envvar="ANABRANCH_INGRESS",
        show_default=False,
    ),
]
MaxBody = Annotated[
    str,
    typer.Option(
        "--max-body",
        metavar="SIZE",
        help="Largest request body, such as 64MiB.",
        envvar="ANABRANCH_MAX_BODY",
    ),
]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="auto|HOST:PORT",
        help="Start the engine on a Ray that runs here already, by the address of its GCS; auto"
        " finds that of this machine.",
        show_default=False,
    ),
]
ObjectStore = Annotated[
    str, typer.Option("--object-store", metavar="SIZE", help="Size of Ray's object store.")
]
Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        metavar="NAME=VALUE,...",
        help="Labels of this machine, by which graphs choose it, such as zone=north.",
        show_default=False,
    ),
]
Resources = Annotated[
    str,
    typer.Option(
        "--resources",
        metavar="NAME=AMOUNT,...",
        help="What graphs may have of this machine: CPU, GPU, memory (a size), or any other name."
        " [default: all CPUs and GPUs]",
        show_default=False,
    ),
]
Ingress = Annotated[
    bool,
    typer.Option("--ingress/--no-ingress", help="Whether this machine takes requests of clients."),
]
