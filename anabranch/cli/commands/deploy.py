"""Deploys a file and waits for what follows, for several commands."""

from __future__ import annotations

from pathlib import Path

from anabranch.cli.reports.traffic import rollout_line
from anabranch.cli.terminal import Say, note, on_change, progress, warn
from anabranch.client.bundle.report import bundle_json, bundle_text
from anabranch.client.client import ControlClient
from anabranch.client.http import Json
from anabranch.client.prepared import prepare
from anabranch.errors import Conflict

REPLACE: Json = {"kind": "replace"}
"""The intent of a revision that takes over as soon as it is up, without a rollout."""


def send(
    client: ControlClient,
    file: Path | str,
    home: Path,
    author: str,
    message: str,
    intent: Json | None = None,
    graph: str | None = None,
    force: bool = False,
    sign: Path | None = None,
    say: Say = note,
) -> Json:
    """Check ``file``, pack its folder into a bundle, say what it holds, and send the bundle.

    A portable bundle, a file or ``oci://…``, is sent with its models.

    Return ``{"graph", "revision", "state", "new", "bundle"}``. Raise SpecError before the
    bundle is sent, and Conflict where it is of another graph than ``graph``.
    """
    prepared = prepare(file, home).signed(sign)
    if graph is not None and prepared.graph != graph:
        raise Conflict(
            f"{file} has graph {prepared.graph!r} now, and this command serves {graph!r}: "
            "start it again for the other graph"
        )
    note(bundle_text(prepared.bundle))
    if prepared.portable is not None:
        client.send_models(prepared.portable, say)
    for warning in prepared.warnings:
        warn(warning)
    sent = client.deploy(
        prepared.graph, prepared.bundle.data,
        author=author, message=message, intent=intent, force=force, say=say,
    )  # fmt: skip
    return sent | {"bundle": bundle_json(prepared.bundle, prepared.warnings)}


def until_rolled_out(client: ControlClient, graph: str, timeout: float) -> Json:
    """Wait until a graph's rollout has promoted its candidate; print each of its steps."""
    with progress(f"waiting for the rollout of {graph}") as say:
        return client.until_rolled_out(graph, timeout, on_change(rollout_line, say))


def deploy_and_wait(
    client: ControlClient,
    file: Path | str,
    home: Path,
    timeout: float,
    say: Say,
    author: str = "",
    message: str = "",
    intent: Json | None = None,
    force: bool = False,
    sign: Path | None = None,
) -> Json:
    """Send ``file`` and wait until its revision is up; raise DeployError if the revision fails.

    Ctrl-C ends the wait and not the deploy, and says so.
    """
    sent = send(client, file, home, author, message, intent, force=force, sign=sign, say=say)
    graph, number = sent["graph"], sent["revision"]
    say(f"{graph} revision {number} {'was sent' if sent['new'] else 'is this already'}")
    try:
        up = client.wait(graph, number, timeout, say)
    except KeyboardInterrupt:
        note(_goes_on(client, graph, number))
        raise
    return sent | {"state": up["state"]}


def _goes_on(client: ControlClient, graph: str, number: int) -> str:
    """Return what becomes of a deploy that nobody waits for any more, and how to stop it."""
    stable = client.graph(graph, limit=1)["live"]
    if stable == number:
        return f"{graph} revision {number} is live by now"
    stop = f"delete {graph}" if stable is None else f"rollback {graph} --to r{stable}"
    return (
        f"the deploy of {graph} revision {number} goes on: look at it with "
        f"`anabranch status {graph}`, stop it with `anabranch {stop}`"
    )
