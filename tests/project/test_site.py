"""The documentation site builds without a warning, and asks no other place for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|audio|video)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*"""
    r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon))"""
    r"""[^>]*href=["']?(?:https?:)?//[^>]*"""
    r"""|@import[^;]*//[^;]*|url\(["']?(?:https?:)?//[^)]*"""
)
"""What a browser loads by itself from another place."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run([*command, DOCS, built], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-8000:]
    return built


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    front = (site / "index.html").read_text()
    pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
    assert len(pages) > 30
    for page in pages:
        assert (site / page).is_file()
        assert f'href="{page.as_posix()}"' in front or page.name == "index.html", page


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    """Those of Markdown are checked by the build; these are in the navigation and the theme."""
    dead = {
        (page.relative_to(site), link)
        for page in site.rglob("*.html")
        for link in re.findall(r'<a\b[^>]*href="([^"#:]+)(?:#[^"]*)?"', page.read_text())
        if not (page.parent / link).exists()
    }
    assert dead == set()


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    files = [path for kind in ("*.html", "*.css") for path in site.rglob(kind)]
    assert len(files) > 30
    found = {
        (path.relative_to(site), match[:200])
        for path in files
        for match in FETCHED.findall(path.read_text(errors="replace"))
    }
    assert found == set()


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js">',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        '<link href="https://fonts.example/x.css" rel="stylesheet">',
        "@import url(https://fonts.example/x.css);",
        'src: url("https://fonts.example/x.woff2")',
    ],
)
def test_what_would_be_fetched_is_recognised(text: str) -> None:
    assert FETCHED.search(text)
