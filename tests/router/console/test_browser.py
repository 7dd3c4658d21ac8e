"""The console in a browser, against a gateway alone: where it may not read, and where it cannot."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from anabranch.access.identity import Asker
from anabranch.router.errors import Headers
from anabranch.telemetry.registry import Registry, Snapshot
from tests.router.askers import LetsIn
from tests.router.control import make_gateway

sync_api = pytest.importorskip("playwright.sync_api")
sync_api.expect.set_options(timeout=20_000)

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
]

Serve = Callable[[Any], str]
HOSTILE = "<img src=x onerror=alert(1)>"


class Control(LetsIn):
    """A control plane with one graph of a hostile name; the token is ``right``."""

    secret = "right"

    async def graphs(self) -> dict[str, Any]:
        return {}

    async def metrics(self) -> Snapshot:
        return Registry().snapshot()

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        if path == "/sessions":
            return self.session(method, body)
        if path != "/graphs":
            return 404, (), b'{"error": "not there"}'
        graph = {"graph": HOSTILE, "state": "live", "live": 3, "rollout": None}
        return 200, (), orjson.dumps({"graphs": [graph]})


class Mortal:
    """An application that can be gone for a while: what it streams ends, what comes fails."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.gone = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.gone:
            raise ConnectionError("gone")

        async def receive_until_gone() -> Any:
            if scope["type"] != "http":
                return await receive()
            waiting = asyncio.ensure_future(receive())
            while not self.gone:
                done, _ = await asyncio.wait([waiting], timeout=0.05)
                if done:
                    return waiting.result()
            waiting.cancel()
            return {"type": "http.disconnect"}

        await self.app(scope, receive_until_gone, send)


@pytest.fixture
def page() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield chromium.new_page()
        finally:
            chromium.close()


def sees(locator: Any) -> None:
    sync_api.expect(locator.first).to_be_visible()


def test_where_reading_needs_a_key_it_is_asked_for(serve: Serve, page: Any) -> None:
    page.goto(f"{serve(make_gateway(Control(), loopback=False))}/console")
    banner = page.get_by_role("alert")
    sees(banner.get_by_text("Reading needs a key here."))
    banner.get_by_role("button", name="Log in").click()
    field = page.get_by_role("textbox", name="Key")
    sync_api.expect(field).to_be_focused()
    field.fill("wrong")
    page.keyboard.press("Enter")
    sees(page.get_by_text("this key is not known"))
    field.fill("right")
    page.keyboard.press("Enter")
    sees(page.get_by_role("link", name=HOSTILE))
    sync_api.expect(banner).to_be_empty()
    cookie = next(one for one in page.context.cookies() if one["name"].startswith("anabranch-"))
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and "right" not in cookie["value"]
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert "right" not in kept and cookie["value"] not in kept
    page.get_by_role("button", name="Log out").click()
    sees(banner.get_by_text("Reading needs a key here."))
    assert page.context.cookies() == []


def test_names_are_text_and_never_markup(serve: Serve, page: Any) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(f"{serve(make_gateway(Control(), loopback=True))}/console")
    page.get_by_role("link", name=HOSTILE).click()
    sees(page.get_by_role("heading", name=HOSTILE))
    sees(page.get_by_text("There is no graph of this name, or not any more."))
    assert page.locator("img").count() == 0 and dialogs == []


def test_an_engine_that_is_gone_is_said_to_be_and_comes_back(serve: Serve, page: Any) -> None:
    app = Mortal(make_gateway(Control(), loopback=True))
    page.goto(f"{serve(app)}/console")
    sees(page.get_by_role("link", name=HOSTILE))
    banner = page.get_by_role("alert")
    sync_api.expect(banner).to_be_empty()
    app.gone = True
    gone = re.compile(r"The engine has been gone for \d+ s: .* What you see is from")
    sees(banner.get_by_text(gone))
    sees(page.get_by_text("not connected"))
    sees(page.get_by_role("link", name=HOSTILE))
    app.gone = False
    sync_api.expect(banner).to_be_empty()
    sees(page.get_by_text("connected", exact=True))
