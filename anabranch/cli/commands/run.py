"""The loop of ``anabranch run``: deploy, follow logs, deploy changes, put back what was there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from anabranch.cli.commands.deploy import REPLACE, send
from anabranch.cli.commands.log_lines import text
from anabranch.cli.terminal import note, progress, result
from anabranch.cli.watch import PAUSE_S
from anabranch.client.bundle.author import author_of
from anabranch.client.bundle.packing import max_bytes, pack
from anabranch.client.client import ControlClient
from anabranch.client.http import Json
from anabranch.errors import AnabranchError, Conflict, NotFound

_WATCH_MS = 500
_MESSAGE = "anabranch run"
"""Message of the revisions that ``run`` deploys."""
_COMING = ("pending", "deploying")


def serve_until_interrupted(name: str, file: Path, home: Path, timeout: float) -> None:
    """Deploy ``file`` and every change of its folder, and print the graph's logs, until Ctrl-C.

    The first deploy must succeed; where a later one fails, the revision before goes on. At the end
    the graph is as it was: the revision that was stable is so again, and a graph that was not there
    is deleted. Raises Conflict before anything is deployed if the graph could not be put back.
    """
    with ControlClient.of_owner(home) as client:
        session = Session(client, name, home)
        try:
            sent = pack(file, max_bytes(), home).digest
            session.deploy(file, timeout)
            threading.Thread(target=_print_logs, args=(home, name), daemon=True).start()
            for digest in _versions(file, home, sent):
                note(f"{file.parent} has changed ({digest[:12]})")
                session.redeploy(file, timeout)
        finally:
            session.put_back()


class Session:
    """Deploys revisions of a graph for a while, and puts back what was there before.

    Raises Conflict for a graph with more than one revision in its traffic or on its way, or
    without one that is stable.
    """

    def __init__(self, client: ControlClient, name: str, home: Path) -> None:
        self._client = client
        self._home = home
        self._name = name
        self._before = _stable(client, name)
        self._newest = _newest(client, name)

    def deploy(self, file: Path, timeout: float) -> None:
        """Deploy ``file`` and wait until it is live; raise Conflict if it is of another graph."""
        author = author_of(file.resolve().parent)
        with progress(f"deploying {file}") as say:
            sent = send(
                self._client, file, self._home, author, _MESSAGE, REPLACE, self._name, force=True
            )
            self._client.wait(self._name, sent["revision"], timeout, say)
        note(f"{self._name} revision {sent['revision']} is live; Ctrl-C ends it")

    def redeploy(self, file: Path, timeout: float) -> None:
        """Deploy ``file``; say it if that fails."""
        try:
            self.deploy(file, timeout)
        except AnabranchError as error:
            note(f"error: {error}")

    def put_back(self) -> None:
        """Undo the session's deploys, unless somebody has deployed another revision meanwhile."""
        try:
            now = self._client.graph(self._name)
        except NotFound:
            return
        since = [one for one in now["revisions"] if one["revision"] > self._newest]
        # By its message: Ctrl-C may come between the deploy and the engine's answer to it.
        own = {one["revision"] for one in since if one["message"] == _MESSAGE}
        others = (_part(now) | {one["revision"] for one in since}) - own - {self._before}
        if not own:
            return
        if others:
            names = ", ".join(f"r{number}" for number in sorted(others))
            note(f"{self._name} stays as it is, since somebody else has deployed {names}")
        elif self._before is None:
            self._client.delete(self._name)
            note(f"{self._name} is deleted again")
        elif own & _part(now):
            state = self._client.rollback(self._name, self._before)["state"]
            note(f"{self._name} goes back to revision {self._before}, which is {state}")


def _stable(client: ControlClient, name: str) -> int | None:
    """Return the stable revision of a graph; None if there is no graph, or none that was up."""
    try:
        now = client.graph(name)
    except NotFound:
        return None
    stable: int | None = now["live"]
    part = _part(now)
    if stable is None and not part and now["state"] != "deleting":
        return None
    if part != {stable} or now["state"] == "unloaded":
        names = ", ".join(f"r{number}" for number in sorted(part)) or "no revision"
        raise Conflict(
            f"graph {name!r} is {now['state']}, with {names} in its traffic or on the way, and "
            f"`run` could not put that back; bring it to one live revision (`anabranch status "
            f"{name}`), or give the graph in the file another name"
        )
    note(f"{name} is deployed: revision {stable} answers again once this ends")
    return stable


def _newest(client: ControlClient, name: str) -> int:
    """Return the newest revision on record of a graph, also of a deleted one; 0 without any."""
    try:
        return max((one["revision"] for one in client.history(name, 1)["revisions"]), default=0)
    except NotFound:
        return 0


def _part(graph: Json) -> set[int]:
    """Return the revisions of a graph that have a part in its traffic or are on their way."""
    coming = (one for one in graph["revisions"] if one["state"] in _COMING)
    return {one["revision"] for one in (*graph["arms"], *graph["mirrors"], *coming)}


def _versions(file: Path, home: Path, sent: str) -> Iterator[str]:
    """Yield the digest of the bundle of ``file``, each time that it changes; say why there is none.

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
        try:
            digest = pack(file, max_bytes(), home).digest
        except AnabranchError as error:
            note(f"error: {error}")
            continue
        if digest != sent:
            yield digest
        sent = digest


def _print_logs(home: Path, name: str) -> None:
    """Print the graph's new log lines for ever; wait for an engine that does not answer."""
    after = None
    pause = threading.Event()
    with ControlClient.of_owner(home) as client:
        while not pause.wait(PAUSE_S):
            try:
                found = client.logs(name, 0, after)
            except AnabranchError:
                continue
            for line in found["lines"]:
                result(text(line))
            after = found["cursor"]
