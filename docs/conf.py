"""Settings of Sphinx for the documentation site; ``make docs`` builds it, and reads no network."""

from importlib.metadata import version as installed

project = "anabranch"
author = "the anabranch authors"
project_copyright = "the anabranch authors"
version = release = installed("anabranch")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/.*"]
nitpicky = True
# Headings get the anchors that a code host gives them, so that links work in both places.
myst_heading_anchors = 4
highlight_language = "text"

html_theme = "furo"
html_title = "anabranch"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
