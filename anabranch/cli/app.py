"""The command line: all commands, in the order of the help. A command imports its modules only when
it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from typer.core import TyperGroup

from anabranch.cli import remote
from anabranch.cli.commands import (
    backup,
    bandit,
    engine,
    events,
    explain,
    graph,
    importing,
    monitors,
    replay,
    request,
    revision,
    spec,
    traffic,
)
from anabranch.cli.commands.access import dashboard, keys, login, rules
from anabranch.cli.commands.cluster import join, nodes
from anabranch.cli.commands.exports import dashboards, features, kuberay
from anabranch.cli.commands.jobs import batch, on_engine
from anabranch.cli.commands.portable import bundles
from anabranch.cli.commands.shared import models
from anabranch.cli.commands.standalone import containerize, serve

app = typer.Typer(
    name="anabranch",
    help="Inference graphs in YAML, served by Ray Serve.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Commands: TypeAlias = Mapping[str, Callable[..., None]]
"""Functions of commands by an example, which holds the name of the command."""

_COMMANDS: Commands = {
    "up --http-port 8080 --grpc-port 9080": engine.up,
    "down": engine.down,
    "doctor": engine.doctor,
    "run graph.yaml": engine.run,
    "join 10.0.0.1:8000 --token-file token --labels zone=north": join.join,
    "leave": join.leave,
    "backup before-upgrade.zip": backup.backup,
    "restore before-upgrade.zip": backup.restore,
    "deploy graph.yaml --canary 5 --message 'sharper'": graph.deploy,
    "status shop --watch": graph.status,
    "delete shop --yes": graph.delete,
    "logs shop --follow --node net --revision r3": graph.logs,
    "traffic shop r3=90 r4=10": traffic.traffic,
    "promote shop r4": traffic.promote,
    "abort shop": traffic.abort,
    "compare shop": traffic.compare,
    "rollout shop status": traffic.rollout,
    "history shop": revision.history,
    "diff shop r3 r4": revision.diff,
    "rollback shop --to r3": revision.rollback,
    "bandit shop --router learned": bandit.bandit,
    "experiment shop split": bandit.experiment,
    "monitors shop": monitors.monitors,
    "models": models.models,
    "infer shop -i 'x=[[1, 2]]' -i text=hello --revision r3": request.infer,
    "feedback shop 7f3a --reward 1": request.feedback,
    "replay logs/ shop --revision r4 --limit 1000": replay.replay,
    "batch shop orders.parquet -o answers.parquet --id order --map x=price,weight": batch.batch,
    "jobs --graph shop": on_engine.jobs,
    "explain shop --explainer shap -i 'x=[[1, 2]]' -i text=hello --plot shap.png": explain.explain,
    "init shop --template tabular": spec.init,
    "validate graph.yaml --load": spec.validate,
    "plan graph.yaml": spec.plan,
    "schema": spec.schema,
    "build examples/quickstart/graph.yaml --version 1.2.0": bundles.build,
    "sign quickstart-1.2.0.bundle --key release.key": bundles.sign,
    "verify quickstart-1.2.0.bundle --keys release.pub": bundles.verify,
    "push quickstart-1.2.0.bundle oci://registry.example/models/quickstart:1.2.0": bundles.push,
    "pull oci://registry.example/models/quickstart:1.2.0": bundles.pull,
    "serve graph.yaml --port 8081 --watch": serve.serve,
    "containerize graph.yaml -o shop.tar --tag shop:1.2.0": containerize.containerize,
    "import seldon.yaml --output imported": importing.import_,
    "dashboard --print": dashboard.dashboard,
    "login --url http://engine:8000": login.login,
    "logout": login.logout,
}
_NODES: Commands = {"nodes drain worker-2": nodes.drain}
_EVENTS: Commands = {
    "events list shop --follow": events.events,
    "events verify": events.verify,
}
_JOB: Commands = {
    "job status 3f2a9c51d07e --wait": on_engine.status,
    "job cancel 3f2a9c51d07e": on_engine.cancel,
}
_FEATURES: Commands = {
    "features export graph.yaml --from logs/shop -o train.parquet": features.export,
    "features check graph.yaml --from logs/shop --since 1d": features.check,
}
_DASHBOARDS: Commands = {"dashboards export monitoring/": dashboards.export}
_EXPORT: Commands = {
    "export kuberay examples/quickstart/graph.yaml --output manifests": kuberay.kuberay,
}
_KEYS: Commands = {
    "keys create ci --role deployer --graph 'team-a/*' --expires 90d": keys.create,
    "keys rotate ci --overlap 1d": keys.rotate,
    "keys revoke ci --yes": keys.revoke,
}
_ACCESS: Commands = {
    "access check key:ci deploy shop": rules.check,
    "access show": rules.show,
    "access set policy.yaml": rules.put,
    "access me": rules.me,
}


def _add(to: typer.Typer, commands: Commands, depth: int = 0) -> None:
    """Add commands, each with its first sentence in the list of commands, and with its example.

    Neither is cut or broken, whatever the terminal's width.
    """
    for example, command in commands.items():
        name, short = example.split()[depth], _short(command.__doc__)
        to.command(name, short_help=short, epilog=_epilog(example))(command)


def _group(
    commands: Commands,
    text: str = "",
    command: Callable[..., None] | None = None,
    cls: type[TyperGroup] | None = None,
) -> None:
    """Add a group of commands; where none of them is named, ``command`` runs, or help is shown.

    The help of the group is ``text``, or else the docstring of ``command``.
    """
    name = next(iter(commands)).split()[0]
    text = text or inspect.getdoc(command) or ""
    found = typer.Typer(
        name=name,
        cls=cls,
        rich_markup_mode=None,
        no_args_is_help=command is None,
        help=text,
        short_help=_short(text),
    )
    app.add_typer(found)
    if command is not None:
        found.callback(invoke_without_command=True, epilog=_epilog(name))(command)
    _add(found, commands, depth=1)


def _short(text: str | None) -> str:
    sentence, _, _ = (text or "").replace("\n", " ").partition(". ")
    return " ".join(sentence.split()).removesuffix(".")


def _epilog(example: str) -> str:
    return f"\b\nExample: anabranch {example}"


_add(app, _COMMANDS)
_group(_NODES, command=nodes.show)
_group(
    _EVENTS,
    "Print or verify the log of events. It holds what has happened, and who did it."
    " `anabranch events shop` is `anabranch events list shop`.",
    cls=events.ListByDefault,
)
_group(_JOB, "Show and cancel batch jobs that the engine runs.")
_group(_FEATURES, "Training sets of request logs, and their skew.")
_group(_DASHBOARDS, "Grafana dashboards and Prometheus rules.")
_group(_EXPORT, "An engine and its graphs, as files for other systems.")
_group(_KEYS, command=keys.show)
_group(_ACCESS, "Who may do what on an engine.")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anabranch {version('anabranch')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar=remote.URL,
            help="URL of an engine on another machine, such as https://engine:8000.",
            show_default=False,
        ),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            help="File with a key for it, closed to others."
            " [default: ANABRANCH_TOKEN, or that of `login`]",
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            envvar=remote.CA,
            help="Authorities that its certificate may be of, in PEM. [default: public ones]",
            show_default=False,
        ),
    ] = None,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Inference graphs in YAML, served by Ray Serve."""
    ctx.with_resource(remote.chosen(url, token_file, ca))
