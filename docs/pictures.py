"""Make the pictures of the README and the docs; ``make pictures`` runs this file.

Writes ``docs/static/pictures/``: a drawing of a graph, its processes and a canary (SVG), and a
screenshot of the console (PNG), each for light and dark pages. The graph is the one that
``anabranch init`` writes. An engine with its own home and ports serves it while Chromium
photographs the console; the engine is stopped at the end.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from anabranch.cli.template import Template, make
from anabranch.graph.compile.loading import open_graph

PICTURES = Path(__file__).parent / "static" / "pictures"
ANABRANCH = Path(sys.executable).with_name("anabranch")
CANARY_PERCENT = 20
"""Share of the requests that the canary gets, so that its charts have data."""
HISTORY_S = 100
"""Seconds of traffic before the screenshot, so that the charts show curves."""
WIDTH, HEIGHT = 1280, 950


@dataclass(frozen=True)
class Palette:
    """Colours of a drawing on a light or a dark page."""

    text: str
    faint: str
    line: str
    process: str
    predictor: str
    combiner: str
    tensor: str
    proxy: str
    stable: str
    canary: str


PALETTES: Mapping[str, Palette] = {
    "light": Palette(
        text="#1f2328", faint="#59636e", line="#59636e", process="#f6f8fa", predictor="#ddf4ff",
        combiner="#fff8c5", tensor="#ffffff", proxy="#eff2f5", stable="#1a7f37", canary="#bc4c00",
    ),
    "dark": Palette(
        text="#f0f6fc", faint="#9198a1", line="#9198a1", process="#151b23", predictor="#0c2d6b",
        combiner="#4b2900", tensor="#0d1117", proxy="#212830", stable="#3fb950", canary="#f0883e",
    ),
}  # fmt: skip


class Drawing:
    """Collects the elements of an SVG drawing."""

    def __init__(self, palette: Palette) -> None:
        self.palette = palette
        self.elements: list[str] = []

    def text(
        self, x: float, y: float, text: str, *, size: int = 15, colour: str = "",
        anchor: str = "middle", weight: str = "normal",
    ) -> None:  # fmt: skip
        """Add a line of text whose baseline is at ``y``."""
        self.elements.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}" fill="{colour or self.palette.text}">{escape(text)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, *,
        title: str = "", detail: str = "", stroke: str = "", radius: int = 6,
    ) -> None:  # fmt: skip
        """Add a box with a title and a smaller line of text in its middle."""
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" '
            f'fill="{fill}" stroke="{stroke or self.palette.line}" stroke-width="1.2"/>'
        )
        middle, centre = x + width / 2, y + height / 2
        if title:
            self.text(middle, centre - 2 if detail else centre + 5, title, weight="600")
        if detail:
            self.text(middle, centre + 13, detail, size=12, colour=self.palette.faint)

    def arrow(
        self, x: float, y: float, to_x: float, to_y: float, *, colour: str = "", width: float = 1.5
    ) -> None:
        """Add a curved arrow from left to right."""
        bend = (to_x - x) / 2
        stroke = colour or self.palette.line
        self.elements.append(
            f'<path d="M{x:g} {y:g}C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} {to_x - 7:g} '
            f'{to_y:g}" fill="none" stroke="{stroke}" stroke-width="{width}"/>'
            f'<path d="M{to_x:g} {to_y:g}l-9 -4.5v9z" fill="{stroke}"/>'
        )

    def heading(self, y: float, title: str, subtitle: str) -> None:
        """Add a heading at the left edge, with a subtitle beside it."""
        self.text(16, y, title, size=17, anchor="start", weight="600")
        x = 28 + 11 * len(title)
        self.text(x, y, subtitle, size=14, anchor="start", colour=self.palette.faint)

    def svg(self, width: int, height: int, title: str) -> str:
        """Return the drawing as an SVG document."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" '
            'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
            f"<title>{escape(title)}</title>\n" + "\n".join(self.elements) + "\n</svg>\n"
        )


def draw(palette: Palette, spec: Path) -> str:
    """Draw the graph of a spec, and the processes of its stable revision and its canary.

    The spec is that of the template ``tabular``: predictors, and one combiner that joins them.
    """
    plan = open_graph(spec).plan
    combiner = next(name for name, node in plan.nodes.items() if node.type == "combiner")
    predictors = [name for name in plan.nodes if name != combiner]
    drawing = Drawing(palette)
    _draw_graph(drawing, list(plan.inputs), predictors, combiner)
    _draw_processes(drawing, [*predictors, combiner])
    title = "An inference graph, and the processes that serve its stable revision and its canary"
    return drawing.svg(660, 560, title)


def _draw_graph(drawing: Drawing, inputs: list[str], predictors: list[str], combiner: str) -> None:
    palette = drawing.palette
    drawing.heading(30, "graph.yaml", "what you write")
    for row, name in enumerate(inputs):
        y = 56 + row * 60
        drawing.box(16, y, 96, 38, palette.tensor, title=name, radius=19)
        for target in range(len(predictors)):
            drawing.arrow(112, y + 19, 196, 102 + target * 74)
    for row, name in enumerate(predictors):
        y = 74 + row * 74
        drawing.box(196, y, 128, 56, palette.predictor, title=name, detail="predictor")
        drawing.arrow(324, y + 28, 400, 139)
    drawing.box(400, 111, 128, 56, palette.combiner, title=combiner, detail="combiner: mean")
    drawing.arrow(528, 139, 578, 139)
    drawing.box(578, 120, 66, 38, palette.tensor, title=combiner, radius=19)


def _draw_processes(drawing: Drawing, nodes: list[str]) -> None:
    palette = drawing.palette
    drawing.heading(286, "processes", "what anabranch runs on Ray Serve")
    drawing.text(38, 379, "client", weight="600")
    drawing.arrow(64, 374, 90, 374)
    drawing.box(90, 345, 90, 58, palette.proxy, title="HAProxy", detail="proxy")
    shares = (f"{100 - CANARY_PERCENT} %", f"{CANARY_PERCENT} %")
    rows = (
        (206, 310, 438, "revision 1, stable", palette.stable),
        (330, 444, 314, "revision 2, canary", palette.canary),
    )
    for x, y, width, title, colour in rows:
        drawing.box(x, y, width, 100, palette.process, stroke=colour, radius=8)
        drawing.text(x + 14, y + 25, title, anchor="start", weight="600", colour=colour)
        for column, name in enumerate(nodes):
            is_last = column == len(nodes) - 1
            fill = palette.combiner if is_last else palette.predictor
            drawing.box(344 + column * 98, y + 44, 90, 40, fill, title=name)
    drawing.arrow(180, 374, 214, 374)
    drawing.box(214, 354, 76, 40, palette.proxy, title="router")
    drawing.arrow(290, 374, 344, 374, colour=palette.stable, width=2.4)
    drawing.text(315, 366, shares[0], weight="600", colour=palette.stable)
    drawing.elements.append(
        f'<path d="M252 394V478a10 10 0 0 0 10 10H338" fill="none" stroke="{palette.canary}" '
        f'stroke-width="1.5"/><path d="M344 488l-9 -4.5v9z" fill="{palette.canary}"/>'
    )
    drawing.text(292, 480, shares[1], weight="600", colour=palette.canary)


def anabranch(home: Path, *words: str) -> str:
    """Run a command on the engine in ``home``; return what it prints on stdout."""
    done = subprocess.run(
        [ANABRANCH, *words],
        env={**os.environ, "ANABRANCH_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def free_ports(count: int) -> list[str]:
    """Return free TCP ports of the loopback interface."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [str(listener.getsockname()[1]) for listener in sockets]


@contextmanager
def traffic(url: str, body: bytes) -> Iterator[None]:
    """Send about 100 requests per second while the block runs."""
    is_over = threading.Event()

    def send() -> None:
        with httpx.Client() as client:
            while not is_over.wait(0.01):
                client.post(url, content=body).raise_for_status()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        sender.join()


def photograph(url: str, schemes: Mapping[str, Path], wait_s: float) -> None:
    """Write a screenshot of a console page for each colour scheme, after ``wait_s`` seconds."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = chromium.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5
        )
        page.goto(url)
        page.get_by_role("heading", name="shop", exact=True).wait_for()
        page.wait_for_timeout(wait_s * 1000)
        for scheme, path in schemes.items():
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.screenshot(path=path)
        chromium.close()


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="anabranch-pictures-") as directory:
        folder, home = Path(directory, "shop"), Path(directory, "home")
        make(folder, Template.TABULAR)
        train = [sys.executable, str(folder / "train.py")]
        subprocess.run(train, check=True)
        spec, request = folder / "graph.yaml", (folder / "request.json").read_bytes()
        for scheme, palette in PALETTES.items():
            (PICTURES / f"graph-{scheme}.svg").write_text(draw(palette, spec))
        http, grpc, dashboard = free_ports(3)
        url = f"http://127.0.0.1:{http}"
        try:
            ports = ("--http-port", http, "--grpc-port", grpc, "--dashboard-port", dashboard)
            anabranch(home, "up", *ports)
            anabranch(home, "deploy", str(spec))
            subprocess.run([*train, "--rows", "5000"], check=True)
            anabranch(home, "deploy", str(spec), "--canary", str(CANARY_PERCENT))
            with traffic(f"{url}/v2/models/shop/predict", request):
                console = f"{url}/console/#/graphs/shop"
                schemes = {name: PICTURES / f"console-{name}.png" for name in PALETTES}
                photograph(console, schemes, HISTORY_S)
        finally:
            anabranch(home, "down")


if __name__ == "__main__":
    main()
