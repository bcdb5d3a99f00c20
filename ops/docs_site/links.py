"""Check and resolve links from pages to files that are no pages, such as modules of the code.

MyST would copy such files into the site. They are shown at ``source_url`` instead, or as plain text if there is none.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

_log = logging.getLogger(__name__)


def resolve_file_links(app: Sphinx, document: nodes.document) -> None:
    """Replace each download link by a link to the repository; warn if the file does not exist."""
    root = Path(app.srcdir)
    for link in list(document.findall(addnodes.download_reference)):
        target = unquote(link["reftarget"])
        # MyST writes a path from the root of the sources with a leading slash, others relative to the page.
        path = root / target.lstrip("/") if target.startswith("/") else root / Path(app.env.docname).parent / target
        if not path.exists():
            _log.warning("link to a file that does not exist: %s", target, location=link)
        name = path.resolve().relative_to(root.resolve()).as_posix()
        if app.config.source_url:
            replaced: nodes.Node = nodes.reference("", "", *link.children, refuri=f"{app.config.source_url}/{name}")
        else:
            replaced = nodes.inline("", "", *link.children)
        link.replace_self(replaced)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the resolution, before downloads are collected."""
    app.add_config_value("source_url", "", "env")
    app.connect("doctree-read", resolve_file_links, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
