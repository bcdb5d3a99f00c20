"""Configuration of Sphinx. The source folder is the repository, so that links between its files work as they are."""

import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

project = "Coursebus"
author = "The Coursebus authors"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
html_title = f"Coursebus {release}"

extensions = ["myst_parser", "ops.docs_site.mermaid", "ops.docs_site.links"]
root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "UPGRADING.md",
    "clients/python/*.md",
    "docs/*.md",
    "docs/**/*.md",
    "ops/fakes/README.md",
    "ops/helm/coursebus/README.md",
    "ops/runbooks/*.md",
]
exclude_patterns = [".local", "tests", "**/node_modules", "docs/schemas"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
suppress_warnings = [
    "misc.highlighting_failure",  # blocks that mix shell and JSON are shown without colours
    "toc.not_included",  # the decisions are listed by topic in their README; a test compares it with the files
]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]  # index.html, which leads to docs/index.html
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
# Where files that are no pages are shown, such as those of the code. Without it their names are plain text.
source_url = os.environ.get("DOCS_SOURCE_URL", "")
