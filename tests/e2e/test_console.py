"""The console in a real browser: Debian's Chromium walks through what people do with it.

Screenshots go to ANABRANCH_ARTEFACTS, or build/screenshots.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.holding import held
from tests.e2e.conftest import Given, node, spec
from tests.engines import Engine, actor_processes

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
]
NAME = "seen"
PATIENCE_MS = 40_000
"""Longest time until a page of a busy machine shows anything."""
CODE = """
import itertools
import time


class Step:
    \"\"\"Adds, slowly, and fails one request in ``every``.\"\"\"

    max_concurrency = 16

    def __init__(self, by: float = 1.0, every: int = 0) -> None:
        self.by = by
        self.every = every
        self.count = itertools.count(1)

    def transform(self, x):
        time.sleep(0.002)
        if self.every and next(self.count) % self.every == 0:
            raise RuntimeError("one of those")
        return x + self.by


class Why:
    def explain(self, x):
        return {"attributions": [float(value) for value in x.ravel()]}
"""
FILES = {
    "request.json": """
{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}]}
"""
}
WIDE, NARROW = (1280, 900), (390, 844)
SERIOUS = ("serious", "critical")


def graph(by: float = 1.0, every: int = 0, hold: str = "1s") -> dict[str, Any]:
    """Two processes, an explainer, and a rollout that is quick to judge."""
    nodes = {
        "first": node("Step", args={"by": by, "every": every}),
        "second": node("Step", source="first", placement={"isolate": True}),
        "last": node("Step", source="second"),
        "why": {"type": "explainer", "component": "components.py:Why", "explains": "last"},
    }
    found = spec(NAME, **nodes)
    found["spec"]["outputs"] = {"y": "last"}
    found["spec"]["warmup"] = {"data": "request.json"}
    found["spec"]["rollout"] = {
        "steps": [30, 60],
        "hold": hold,
        "analysis": {
            "interval": "1s",
            "min_samples": 5,
            "metrics": [{"metric": "error_rate", "max": 0.05}],
        },
    }
    return found


class Browser:
    """A page of the console, what it has said, and what it has asked for."""

    def __init__(self, page: Any, url: str, folder: Path) -> None:
        self.page = page
        self.url = f"{url}/console/"
        self.folder = folder
        self.errors: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url, url))
        page.on("websocket", lambda socket: self.strangers.append(socket.url))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _asked(self, target: str, url: str) -> None:
        if not target.startswith((f"{url}/", "data:")):
            self.strangers.append(target)

    def open(self, tab: str = "") -> None:
        self.page.goto(f"{self.url}#/graphs/{NAME}{tab and f'/{tab}'}")
        self.see(self.page.get_by_role("heading", name=NAME, exact=True))

    def see(self, locator: Any, patience: float = PATIENCE_MS) -> None:
        sync_api.expect(locator.first).to_be_visible(timeout=patience)

    def text(self, pattern: str) -> Any:
        return self.page.locator("main").get_by_text(re.compile(pattern))

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def shot(self, name: str) -> None:
        """A picture of the page at each width, and what axe-core finds in light and in dark."""
        for scheme, (width, height) in (("dark", NARROW), ("light", NARROW), ("light", WIDE)):
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size({"width": width, "height": height})
            self._still()
            path = self.folder / f"{name}-{width}-{scheme}.png"
            self.page.screenshot(path=path, full_page=True)
            assert self._overflow() == 0, f"{name} is wider than {width}"
            if scheme == "dark" or width == WIDE[0]:
                self._is_accessible(f"{name} ({scheme})")

    def _still(self) -> None:
        """Wait for the next two frames: the layout follows the width."""
        self.page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def _overflow(self) -> int:
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def _is_accessible(self, where: str) -> None:
        found = axe.Axe().run(self.page).response["violations"]
        bad = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS]
        assert not bad, f"{where}: {bad}"

    def is_clean(self) -> None:
        assert self.errors == []
        assert self.strangers == []


@pytest.fixture(scope="module")
def folder() -> Path:
    path = Path(os.environ.get("ANABRANCH_ARTEFACTS", "build")) / "screenshots"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def browser(engine: Engine, folder: Path) -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport=dict(zip(("width", "height"), WIDE, strict=True)))
        try:
            yield Browser(page, engine.url, folder)
        finally:
            page.screenshot(path=folder / "last.png")
            chromium.close()


@pytest.fixture(scope="module")
def seen(given_once: Given) -> str:
    return given_once.deployed(graph(), CODE, FILES)


def deploy(given: Given, graph: dict[str, Any]) -> None:
    """Deploy a further revision."""
    done = given.deploy(graph, CODE, FILES)
    assert done.returncode == 0, done.stderr


def test_a_graph_is_watched_and_asked(
    engine: Engine, seen: str, browser: Browser, load: Callable[..., Any]
) -> None:
    page = browser.page
    page.goto(f"{engine.url}/")
    browser.see(page.get_by_role("link", name=NAME, exact=True))
    assert page.url.startswith(browser.url)
    with load(NAME, clients=2):
        watch(browser)
        look_back(browser)
    open_a_node(browser, engine)
    play(browser, 1)
    browser.is_clean()


@pytest.mark.nightly
def test_a_walk_through_a_rollout(
    engine: Engine, given_once: Given, seen: str, browser: Browser, load: Callable[..., Any]
) -> None:
    browser.open()
    with load(NAME, clients=2):
        see_the_bad_one_stopped(browser, given_once)
        promote_the_good_one(browser, given_once, engine.token)
    compare(browser)
    play(browser, 3)
    browser.is_clean()


def watch(browser: Browser) -> None:
    """Rates move: in the list, and on the nodes in both processes."""
    page = browser.page
    browser.see(page.get_by_role("row", name=re.compile(rf"{NAME} live .*\d\/s .*ms")))
    browser.shot("overview")
    page.get_by_role("link", name=NAME, exact=True).click()
    for name in ("first", "second", "last"):
        busy = re.compile(rf"transformer {name} in segment \w+, [\d.]+\/s calls, [\d.]+ ms p50")
        browser.see(page.get_by_role("button", name=busy))
    browser.see(page.locator(".segment", has_text=re.compile("second.*hop .*ms")))
    browser.shot("graph")


def look_back(browser: Browser) -> None:
    """The controller has charts of what was before the page was loaded."""
    page = browser.page
    latency = page.locator("figure", has_text="Latency")
    browser.see(latency.locator("path.curve.second[d*=L]"))
    page.reload()
    browser.see(latency.locator("path.curve.second[d*=L]"))


def open_a_node(browser: Browser, engine: Engine) -> None:
    """The link that ``up`` prints logs in; then a node shows its replicas and its log lines."""
    page = browser.page
    link = engine.process("up").stderr.split("once within ten minutes: ")[1].split()[0]
    page.goto(link)
    browser.see(page.get_by_role("button", name="Log out"))
    assert "code" not in page.url
    browser.open()
    page.get_by_role("button", name=re.compile("^transformer second")).click()
    panel = page.get_by_role("region", name="second of r1")
    browser.see(panel.get_by_role("row", name=re.compile("ready")))
    browser.see(panel.get_by_role("log").or_(panel.get_by_text("There are no lines.")))
    browser.shot("node")
    browser.open("replicas")
    browser.see(page.get_by_role("row", name=re.compile("segment second .*ready")))


def see_the_bad_one_stopped(browser: Browser, given: Given) -> None:
    """A canary that fails is taken out, and the console says why."""
    browser.open("rollout")
    deploy(given, graph(every=3))
    browser.see(browser.text(r"failed \(1\) > failure_limit \(0\): error_rate 0\.\d+ > max 0\.05"))
    browser.see(browser.page.locator(".standing .badge.bad", has_text="aborted"))
    browser.page.locator("li", has_text="analysis fail").first.locator("summary").click()
    browser.see(browser.page.locator("li .badge.bad", has_text="fail"))
    browser.shot("stopped")


def promote_the_good_one(browser: Browser, given: Given, token: str) -> None:
    """Promotion asks for a login, says what will happen, and then happens."""
    page = browser.page
    deploy(given, graph(by=2.0, hold="10m"))
    browser.see(page.locator(".standing .badge", has_text="running"))
    browser.press("Promote now …")
    page.get_by_role("textbox", name="Key").fill(token)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=f"Promote r3 of {NAME}?")
    browser.see(dialog.get_by_text("r3 gets all of the traffic; it has 30 % now."))
    browser.shot("promote")
    browser.press("Promote r3")
    browser.see(page.get_by_text("r3 is stable"))
    browser.see(page.locator(".standing .badge.good", has_text="promoted"))


def compare(browser: Browser) -> None:
    """The difference of two revisions, and a rollback that is thought better of."""
    page = browser.page
    browser.open("revisions")
    browser.see(page.locator(".diff .added", has_text="2.0"))
    page.get_by_label("From").select_option("r1")
    browser.see(page.locator(".diff .place", has_text="--- r1"))
    browser.shot("revisions")
    back = page.get_by_role("button", name="Roll back to revision 1")
    back.focus()
    page.keyboard.press("Enter")
    browser.see(page.get_by_role("dialog", name=f"Roll {NAME} back?"))
    for _ in range(6):
        page.keyboard.press("Tab")
        # Beyond its last field the browser's own buttons follow, never the page behind.
        assert page.evaluate("document.activeElement.matches('dialog *, body')")
    page.keyboard.press("Escape")
    sync_api.expect(page.get_by_role("dialog")).to_have_count(0)
    sync_api.expect(back).to_be_focused(timeout=PATIENCE_MS)
    assert browser.text("r3 is stable").count() == 1


def play(browser: Browser, revision: int) -> None:
    """A request by hand: filled in, answered, traced through both processes, and explained."""
    page = browser.page
    browser.open("playground")
    field = page.get_by_label("Request in JSON")
    sync_api.expect(field).to_have_value(
        re.compile(r'"data": \[0\.25, 0\.75\]'), timeout=PATIENCE_MS
    )
    browser.press("Send")
    browser.see(page.locator(".standing", has_text=re.compile(rf"200 OK in .* by r{revision}")))
    by = 1 if revision == 1 else 2
    # Three nodes; the first adds what its revision says.
    browser.see(page.locator("pre.json", has_text=f"{0.25 + by + 2}"))
    trace = page.locator(".waterfall")
    for name in ("first", "second", "last"):
        browser.see(trace.get_by_role("row", name=re.compile(rf"\b{name}\b.* µ?m?s")))
    browser.shot("playground")
    browser.press("Explain by why")
    browser.see(page.locator(".bars").get_by_role("row", name=f"x1 {0.75 + by + 1}"))
    browser.shot("explanation")


@pytest.mark.nightly
def test_the_console_says_when_the_controller_is_gone(
    engine: Engine, seen: str, browser: Browser
) -> None:
    browser.open()
    (controller,) = actor_processes(engine, "Controller")
    banner = browser.page.get_by_role("alert")
    with held(controller.pid):
        browser.see(banner.get_by_text("the controller does not answer within 5s"))
        assert engine.infer(NAME).status_code == 200
        browser.shot("gone")
    sync_api.expect(banner).to_be_empty(timeout=PATIENCE_MS)
    browser.is_clean()


def test_whoever_uses_the_keyboard_can_skip_to_the_content(browser: Browser) -> None:
    page = browser.page
    page.goto(browser.url)
    browser.see(page.get_by_role("heading", name="Graphs"))
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    sync_api.expect(skip).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("main")).to_be_focused(timeout=PATIENCE_MS)
