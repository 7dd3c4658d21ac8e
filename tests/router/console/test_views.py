"""The console's views in Chromium over a control plane that is played: at three widths, in both
themes, and what people do in them.

Screenshots go to ANABRANCH_ARTEFACTS, or build/screenshots.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.router.conftest import lean_serving
from tests.router.console.shown_engine import NAME, POINTS, TOKEN, ShownEngine, iso, machine, watch
from tests.router.control import make_gateway

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
]
WIDTHS = (390, 820, 1440)
SCHEMES = ("light", "dark")
BY_DAY = [(390, "light"), (820, "dark"), (1440, "light")]
BY_NIGHT = [look for look in product(WIDTHS, SCHEMES) if look not in BY_DAY]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def engine() -> ShownEngine:
    return ShownEngine()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of its own, whose scripts and drawings may not fail."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: _is_fault(said) and errors.append(said.text))
    yield page
    context.close()
    assert errors == []


def _is_fault(said: Any) -> bool:
    """Whether a message of the browser tells of a fault; answers of 4xx are for the page."""
    return said.type in ("error", "warning") and not said.text.startswith("Failed to load resource")


@pytest.fixture
def url(engine: ShownEngine) -> Iterator[str]:
    with lean_serving(make_gateway(engine, loopback=True)) as url:
        yield f"{url}/console/"


def sees(locator: Any) -> None:
    sync_api.expect(locator.first).to_be_visible(timeout=PATIENCE_MS)


def opened(page: Any, url: str, tab: str = "") -> None:
    page.goto(f"{url}#/graphs/{quote(NAME, safe='')}{tab and f'/{tab}'}")
    sees(page.get_by_role("heading", name=NAME, exact=True))


def sign_in(page: Any, url: str) -> None:
    page.goto(f"{url}#code=once")
    sees(page.get_by_role("button", name="Log out"))


def see_graph(page: Any) -> None:
    sees(page.get_by_role("button", name=re.compile(r"predictor net .*\d\/s calls")))
    sees(page.get_by_role("img", name=re.compile("^Latency from .*p95 .*ms")))


def see_node(page: Any) -> None:
    page.get_by_role("button", name=re.compile("^predictor forest")).click()
    sees(page.get_by_role("log", name="Log lines").get_by_text("forest failed"))


def see_rollout(page: Any) -> None:
    sees(page.get_by_role("img", name=re.compile(r"^latency p95 from .*limit")))
    page.get_by_text("Evidence: 3 metrics").first.click()


def see_text(text: str) -> Callable[[Any], None]:
    return lambda page: sees(page.locator("main").get_by_text(text))


VIEWS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "graph": ("", see_graph),
    "node": ("", see_node),
    "rollout": ("rollout", see_rollout),
    "revisions": ("revisions", see_text("trees: 80")),
    "replicas": ("replicas", see_text("Segment net is down since")),
    "logs": ("logs", see_text("net failed")),
    "playground": ("playground", see_text("The request of the revision's warm-up.")),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    path = Path(os.environ.get("ANABRANCH_ARTEFACTS", "build")) / "screenshots"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(
    params=[BY_DAY, pytest.param(BY_NIGHT, marks=pytest.mark.nightly)], ids=["by day", "by night"]
)
def check(request: pytest.FixtureRequest, page: Any, folder: Path) -> Callable[[str], None]:
    """Check that a view is readable at each width and in each theme, some of them by night."""
    return lambda name: check_at(request.param, page, folder, name)


def check_at(looks: list[tuple[int, str]], page: Any, folder: Path, name: str) -> None:
    """Nothing overflows, and axe-core finds nothing."""
    for width, scheme in looks:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
        where = f"{name} at {width} in {scheme}"
        assert _overflow(page) == 0, f"{where} is too wide"
        found = axe.Axe().run(page).response["violations"]
        bad = [(one["id"], node["html"]) for one in found for node in one["nodes"]]
        assert not bad, f"{where}: {bad}"


def _overflow(page: Any) -> int:
    width: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


def test_the_list_is_readable_everywhere(url: str, page: Any, check: Any) -> None:
    page.goto(url)
    sees(page.get_by_role("row", name=re.compile(r"team.shop live r2 .*\/s .*drift inputs")))
    check("overview")


@pytest.mark.parametrize(
    "view",
    [pytest.param(view, marks=() if view == "rollout" else pytest.mark.nightly) for view in VIEWS],
)
def test_each_view_is_readable_everywhere(url: str, page: Any, check: Any, view: str) -> None:
    tab, see = VIEWS[view]
    sign_in(page, url)
    opened(page, url, tab)
    see(page)
    check(view)


def names(page: Any) -> list[str]:
    return [row.inner_text() for row in page.locator("tbody th").all()]


def test_the_list_is_searched_and_sorted(url: str, page: Any) -> None:
    page.goto(url)
    sees(page.get_by_role("link", name=NAME, exact=True))
    assert names(page) == ["quiet-0", "quiet-1", NAME]
    page.get_by_role("button", name="Graph", exact=True).click()
    sync_api.expect(page.locator("tbody th").first).to_have_text(NAME)
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Graph")
    page.get_by_role("button", name="Drift", exact=True).click()
    sync_api.expect(page.locator("tbody th").first).to_have_text("quiet-1")
    assert names(page) == ["quiet-1", NAME, "quiet-0"]  # the last has no monitors
    page.get_by_role("searchbox", name="Search").fill("SHO")
    sync_api.expect(page.locator("tbody th")).to_have_count(1)
    sees(page.get_by_text("1 of 3"))
    page.get_by_role("searchbox", name="Search").fill("none such")
    sees(page.get_by_text("No graph has such a name."))


def reading(page: Any, title: str) -> Any:
    return page.locator("figure", has=page.get_by_text(title, exact=True))


def test_an_engine_of_several_machines_shows_what_runs_where(
    url: str, engine: ShownEngine, page: Any, check: Any
) -> None:
    segment = {"graph": NAME, "revision": 4, "part": "segments", "deployment": "net"}
    engine.nodes += [
        machine(
            engine.now, "worker", labels={"zone": "north"}, segments=[{**segment, "replicas": 2}]
        ),
        machine(engine.now, "gone", state="lost", resources={"CPU": {"total": 4.0, "used": None}}),
    ]
    engine.waiting = [{**segment, "replicas": 1}]
    page.goto(url)
    row = page.get_by_role("row", name="worker")
    sees(row.get_by_text("1.5 of 8"))
    sees(row.get_by_text(f"{NAME} r4 net ×2"))
    sees(row.get_by_text("zone=north"))
    sees(page.get_by_role("row", name="gone").get_by_text("lost"))
    sees(page.get_by_text(f"No machine has a place for {NAME} r4 net"))
    check("machines")


def test_an_engine_of_one_machine_shows_no_table_of_machines(url: str, page: Any) -> None:
    with page.expect_response(lambda reply: reply.url.endswith("/nodes")):
        page.goto(url)
    sees(page.get_by_role("row", name=NAME))
    assert page.get_by_role("heading", name="Machines").count() == 0


def test_the_past_is_there_after_a_reload_and_read_by_pointer_and_keys(url: str, page: Any) -> None:
    opened(page, url)
    for _ in range(2):
        chart = reading(page, "Latency")
        sees(chart.locator("path.curve.second"))
        assert len(chart.locator("path.curve.second").get_attribute("d")) > 1000
        page.reload()
    sees(reading(page, "Latency").get_by_text("latest"))
    picture = reading(page, "Latency").locator("svg")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    sync_api.expect(reading(page, "Latency").locator(".fact")).to_have_text(re.compile(r"\d+:\d+"))
    sync_api.expect(reading(page, "Requests").locator("line.cursor")).to_have_count(1)
    before = reading(page, "Latency").locator(".fact").inner_text()
    picture.focus()
    page.keyboard.press("PageDown")
    sync_api.expect(reading(page, "Latency").locator(".fact")).not_to_have_text(before)


def test_a_watch_that_fails_is_told_in_the_list_and_on_the_graph_s_page(
    url: str, engine: ShownEngine, page: Any, check: Any
) -> None:
    engine.watches = [watch(engine.now, "models:/m@champion")]
    opened(page, url)
    watches = page.get_by_role("region", name="Watched models")
    sees(watches.get_by_role("row", name=re.compile("models:.m@champion forest 1 1 ")))
    assert page.get_by_text("unfollowed").count() == 0
    why = "MLflow does not answer: status 503"
    engine.watches.append(
        watch(engine.now, "models:/m@next", found=None, looked_at=None, trouble=why,
              since=iso(engine.now - 900))
    )  # fmt: skip
    sees(
        watches.get_by_role("row", name=re.compile(f"models:.m@next forest 1 – – unfollowed {why}"))
    )
    check("watches")
    page.get_by_role("link", name="Graphs").click()
    sees(page.get_by_role("row", name=re.compile("team.shop live unfollowed r2 ")))
    assert page.get_by_text("unfollowed").count() == 1


def test_a_rollout_shows_the_candidate_against_stable_with_limits_and_verdicts(
    url: str, page: Any
) -> None:
    opened(page, url, "rollout")
    chart = reading(page, "error rate")
    for name in ("r2 (stable)", "r3 (candidate)", "limit"):
        sees(chart.get_by_text(name, exact=True))
    assert chart.locator("circle.mark").count() == 40
    assert chart.locator("circle.mark.bad").count() == 4
    sees(reading(page, "reward").get_by_text("limit"))
    groups = page.locator("details.group > summary strong")
    assert groups.all_inner_texts() == ["r3", "r2", "r1"]
    sees(page.get_by_text("5 times"))


def test_the_timeline_says_who_acted_unless_it_was_the_engine(url: str, page: Any) -> None:
    opened(page, url, "rollout")
    timeline = page.locator(".timeline").first
    sees(timeline.get_by_text("by key ann"))
    steps = timeline.locator("li", has_text="analysis pass")
    sees(steps)
    assert "by " not in steps.first.locator(".what").first.inner_text()


def test_a_rollout_that_waits_for_an_approval_is_approved_by_a_button(
    url: str, page: Any, engine: ShownEngine
) -> None:
    engine.waits_for_approval = True
    sign_in(page, url)
    opened(page, url, "rollout")
    sees(page.get_by_text(re.compile("step 2 of 3 waits for an approval, since")))
    for other in ("Resume …", "Promote now …"):
        assert page.get_by_role("button", name=other).count() == 0
    page.get_by_role("button", name="Approve …").click()
    sees(page.get_by_text("The log of events keeps that you have approved it."))
    page.get_by_role("button", name="Approve", exact=True).click()
    sync_api.expect(page.get_by_role("dialog")).to_have_count(0)
    assert ("POST", f"/graphs/{NAME}/rollout/approve") in engine.asked


def test_a_click_on_a_node_opens_it_and_closes_it(url: str, page: Any) -> None:
    opened(page, url)
    page.get_by_role("button", name=re.compile("^predictor forest")).press("Enter")
    heading = page.get_by_role("heading", name="forest of r2")
    sync_api.expect(heading).to_be_focused()
    panel = page.get_by_role("region", name="forest of r2")
    sees(panel.get_by_text('"trees": 80'))
    sees(panel.get_by_text("c.py:Forest"))
    sees(panel.get_by_text("routerr7k2"))
    sees(panel.get_by_text("Log lines need a login."))
    page.get_by_role("button", name="net", exact=True).click()
    sees(page.get_by_role("region", name="net of r2").get_by_text("gpu 0.5"))
    sees(page.get_by_role("region", name="net of r2").get_by_text("dead"))
    page.get_by_role("button", name="Close").click()
    sync_api.expect(page.get_by_role("heading", name="net of r2")).to_have_count(0)


def test_log_lines_need_a_login_and_are_text(url: str, page: Any) -> None:
    opened(page, url, "logs")
    sees(page.get_by_text("Log lines may hold what clients have sent"))
    page.get_by_role("button", name="Log in").last.click()
    page.get_by_role("textbox", name="Key").fill(TOKEN)
    page.keyboard.press("Enter")
    sees(page.get_by_text("loaded <b>weights</b>"))
    page.get_by_label("Node").select_option("forest")
    sees(page.get_by_role("log").get_by_text("forest failed"))


def test_a_link_signs_in_once_and_leaves_no_code_behind(
    url: str, engine: ShownEngine, page: Any
) -> None:
    sign_in(page, url)
    assert "code" not in page.url and page.url.endswith("#/")
    assert page.evaluate("history.length") == 2  # about:blank, and the page
    assert [cookie["httpOnly"] for cookie in page.context.cookies()] == [True]
    sees(page.get_by_text("the engine's token"))
    page.get_by_role("button", name="Log out").click()
    page.evaluate("location.hash = '#code=once'")
    sees(page.get_by_text("this link was used before"))
    sees(page.get_by_role("button", name="Log in"))
    assert "code" not in page.url


def test_what_roles_do_not_allow_is_disabled(url: str, engine: ShownEngine, page: Any) -> None:
    engine.me = {"kind": "key", "name": "reader", "roles": [], "actions": ["view"]}
    opened(page, url)
    sync_api.expect(page.get_by_role("button", name="Promote …")).to_be_enabled()
    sign_in(page, url)
    sees(page.get_by_text("key reader"))
    opened(page, url)
    promote = page.get_by_role("button", name="Promote …")
    sync_api.expect(promote).to_be_disabled()
    sync_api.expect(promote).to_have_attribute("title", "This takes the role operator.")
    opened(page, url, "playground")
    sync_api.expect(page.get_by_role("button", name="Send")).to_be_disabled()


def test_a_session_that_has_ended_is_forgotten(url: str, engine: ShownEngine, page: Any) -> None:
    sign_in(page, url)
    engine.end_sessions()
    page.reload()
    sees(page.get_by_role("button", name="Log in"))
    sees(page.get_by_role("link", name=NAME))


def test_a_request_is_copied_as_a_command(url: str, page: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, url, "playground")
    sees(page.get_by_text("The request of the revision's warm-up."))
    page.get_by_label("Headers").fill("X-User: it's ada")
    page.get_by_label("Request in JSON").fill('{"inputs": []}')
    page.get_by_role("button", name="Copy as curl").click()
    sees(page.get_by_role("region", name="Command for a shell"))
    origin = url.removesuffix("console/")
    assert page.evaluate("navigator.clipboard.readText()").split(" \\\n  ") == [
        f"curl '{origin}v2/models/{NAME}/infer'",
        "-H 'content-type: application/json'",
        "-H 'x-user: it'\\''s ada'",
        "--data-raw '{\"inputs\": []}'",
    ]


def test_headers_of_the_playground_go_along(url: str, page: Any) -> None:
    sent: list[dict[str, str]] = []
    page.on("request", lambda one: "/infer" in one.url and sent.append(one.headers))
    opened(page, url, "playground")
    sees(page.get_by_text("The request of the revision's warm-up."))
    page.get_by_label("Headers").fill("no header")
    page.get_by_role("button", name="Send").click()
    sees(page.get_by_text('"no header" is not a header such as "x-user: ada"'))
    assert sent == []
    page.get_by_label("Headers").fill("x-user: ada\nx-tier: gold")
    page.get_by_role("button", name="Send").click()
    sees(page.locator(".standing", has_text="404"))
    assert (sent[0]["x-user"], sent[0]["x-tier"]) == ("ada", "gold")


@pytest.mark.parametrize(("begins", "minutes"), [(0, "120"), (POINTS - 60, "10")])
def test_charts_show_the_time_that_a_graph_has(
    url: str, page: Any, engine: ShownEngine, begins: int, minutes: str
) -> None:
    engine.begins = begins
    opened(page, url)
    choice = page.get_by_role("combobox", name="Time")
    sync_api.expect(choice).to_have_value(minutes, timeout=PATIENCE_MS)


def test_other_pages_are_linked_and_the_line_is_not_called_as_graphs_are(
    url: str, page: Any
) -> None:
    opened(page, url)
    sees(page.get_by_text("connected", exact=True))
    outward = page.locator("a.outward")
    sync_api.expect(outward).to_have_count(3)
    links = {link.inner_text(): link.get_attribute("href") for link in outward.all()}
    origin = url.removesuffix("console/")
    assert links == {
        "Ray": "http://ray.test/",
        "Grafana": "http://grafana.test/d/graph?var-graph=team%2Fshop",
        "API": f"{origin}v2/models/{NAME}/docs",
    }
    grafana = outward.filter(has_text="Grafana")
    opened(page, url, "rollout")
    rollout = "http://grafana.test/d/rollout?var-graph=team%2Fshop"
    sync_api.expect(grafana).to_have_attribute("href", rollout)
    page.get_by_role("link", name="Graphs").click()
    sync_api.expect(grafana).to_have_attribute("href", "http://grafana.test/d/overview")


def test_a_time_that_is_not_of_today_has_its_date(url: str, page: Any) -> None:
    opened(page, url, "revisions")
    cells = page.locator("tbody tr", has_text="first that is good").locator("time")
    sync_api.expect(cells).to_have_text(re.compile(r"[A-Z][a-z]+ \d+, \d{4}"))
