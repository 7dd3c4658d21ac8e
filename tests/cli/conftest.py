"""The command line against the real control API over HTTP; the reconciler's part is played, and
that of graphs."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import warnings
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import Result
from typer.testing import CliRunner

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import Asker
from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.control.api.endpoints import ApiAnswer, answer
from anabranch.errors import RequestError
from tests.control.control_api import SPEC, TestControl
from tests.handlers import QuietHandler

CONTROL = "/control/v1"
PARTS = """\
class One:
    def transform(self, x):
        return x


class Two:
    def predict(self, x):
        return x
"""


class Served(TestControl):
    """A control plane that answers over HTTP; what is deployed is up at once, or fails."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.home = folder / "home"
        self.failure = ""
        """Why revisions fail to come up; empty if they do not."""
        self.graphs: dict[str, Any] = {}
        """What a graph would answer, by method and path."""
        self.asked: list[Any] = []
        """Bodies of the requests to graphs."""
        self.headers: list[Any] = []
        """Headers of the requests to graphs."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        write_state(self.home, EngineState("id", url, "", "", "", "", 1, ready=True))
        (self.home / "token").write_text("token")

    def reconcile(self) -> None:
        for stored in self.store.situations():
            for number in stored.situation.coming:
                if self.failure:
                    self.fail(number, self.failure, stored.situation.graph)
                else:
                    self.arrive(number, stored.situation.graph)

    async def answer(
        self, method: str, path: str, query: str, body: bytes, shown: str | None
    ) -> ApiAnswer:
        """Answer a request to the control API, as the gateway does."""
        try:
            guard = Guard(await self.parts.access.now())
            identity = guard.identify(Credentials(shown.encode() if shown else None))
        except RequestError as error:
            return answer(401, {"error": str(error)})
        return await self.api.handle(method, path, query, body, Asker(identity, "10.0.0.1", "q"))

    def run(self, *arguments: str, answers: str = "") -> Result:
        """Run a command in this process; ``answers`` are what is typed."""
        from anabranch.cli.app import app

        environment = {
            "ANABRANCH_HOME": str(self.home), "LOGNAME": "ada", "COLUMNS": "200",
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CEILING_DIRECTORIES": str(self.folder.parent),
        }  # fmt: skip
        return CliRunner().invoke(app, list(arguments), answers, env=environment)

    def text(self, *arguments: str) -> str:
        """What a command that succeeds prints on stdout."""
        done = self.run(*arguments)
        if done.exception is not None:
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.text(*arguments, "-o", "json"))

    def file(self, spec: str = SPEC, name: str = "digits") -> str:
        """A spec on disk, with its component beside it."""
        folder = self.folder / "bundle"
        folder.mkdir(exist_ok=True)
        (folder / "parts.py").write_text(PARTS)
        path = folder / "graph.yaml"
        path.write_text(spec.replace("NAME", name))
        return str(path)


def _handler(engine: Served) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def answer(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if (played := engine.graphs.get(f"{self.command} {path}")) is not None:
                engine.asked.append(json.loads(body or "null"))
                engine.headers.append(self.headers)
                status = 500 if "error" in played else 200
                self.reply(status, [(b"x-request-id", b"made")], json.dumps(played).encode())
                return
            shown = self.headers["authorization"]
            status, headers, content = asyncio.run(
                engine.answer(self.command, unquote(path).removeprefix(CONTROL), query, body, shown)
            )
            if status == 202:
                engine.reconcile()
            self.reply(status, headers, content)

        def reply(self, status: int, headers: Any, content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name.decode(), value.decode())
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = answer

    return Handler


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    thread = threading.Thread(
        target=served.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()
