"""The loop of ``anabranch run``: deploy, follow logs, deploy changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from anabranch.cli.commands.deploy import REPLACE, deploy_and_wait
from anabranch.cli.commands.log_lines import PAUSE_S, text
from anabranch.cli.terminal import note, progress, result
from anabranch.client.client import ControlClient
from anabranch.control.release.bundles import pack
from anabranch.control.settings.settings import Settings
from anabranch.errors import AnabranchError

_WATCH_MS = 500


def serve_until_interrupted(
    name: str, file: Path, home: Path, timeout: float, *, remove: bool
) -> None:
    """Deploy ``file`` and every change of its folder, and print the graph's logs, until Ctrl-C.

    The first deploy must succeed; where a later one fails, the revision before goes on. ``remove``
    deletes the graph at the end.
    """
    with ControlClient.of_home(home) as client:
        try:
            sent = _digest(file)
            _deploy(client, file, timeout)
            threading.Thread(target=_print_logs, args=(home, name), daemon=True).start()
            for digest in _versions(file, sent):
                note(f"{file.parent} has changed ({digest[:12]})")
                _redeploy(client, file, timeout)
        finally:
            if remove:
                client.delete(name)


def _versions(file: Path, sent: str) -> Iterator[str]:
    """Yield the digest of the bundle of ``file``, each time that it changes.

    Watching begins a moment after the first deploy, so the digest is computed at once.
    """
    from watchfiles import watch

    looked = False
    for changes in watch(
        file.resolve().parent, rust_timeout=_WATCH_MS, yield_on_timeout=True, raise_interrupt=True
    ):
        if looked and not changes:
            continue
        looked = True
        digest = _digest(file)
        if digest != sent:
            yield digest
        sent = digest


def _digest(file: Path) -> str:
    return pack(file, Settings.from_env().max_bundle).digest


def _deploy(client: ControlClient, file: Path, timeout: float) -> None:
    with progress(f"deploying {file}") as say:
        done = deploy_and_wait(client, file, timeout, say, message="anabranch run", intent=REPLACE)
    note(f"{done['graph']} revision {done['revision']} is live; Ctrl-C ends it")


def _redeploy(client: ControlClient, file: Path, timeout: float) -> None:
    try:
        _deploy(client, file, timeout)
    except AnabranchError as error:
        note(f"error: {error}")


def _print_logs(home: Path, name: str) -> None:
    """Print the graph's new log lines for ever; wait for an engine that does not answer."""
    after = None
    pause = threading.Event()
    with ControlClient.of_home(home) as client:
        while not pause.wait(PAUSE_S):
            try:
                found = client.logs(name, 0, after)
            except AnabranchError:
                continue
            for line in found["lines"]:
                result(text(line))
            after = found["cursor"]
