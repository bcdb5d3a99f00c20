"""Draw ``mermaid`` blocks as SVG while the site is built: readers need neither JavaScript nor a network for it."""

import hashlib
from typing import Any, ClassVar

import mermaidx
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class Mermaid(Directive):
    """A picture in Mermaid's language; other builders than HTML show its text."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Return the picture, or fail with Mermaid's own message."""
        try:
            svg = mermaidx.render(text := "\n".join(self.content)).svg()
        except Exception as error:  # whatever the renderer raises is a fault in the page
            raise self.error(f"Mermaid cannot draw this: {error}") from error
        # Each picture contains styles for its id, which is the same for all.
        svg = svg.replace("my-svg", f"picture-{hashlib.sha256(text.encode()).hexdigest()[:12]}")
        return [nodes.raw("", f'<div class="mermaid" role="img">{svg}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
