"""Compile the layout of the mails from MJML to HTML, which mail clients can display: ``make mails``."""

from pathlib import Path

import mrml

TEMPLATES = Path(__file__).parent.parent / "workers" / "notifications" / "templates"
SOURCE, COMPILED = TEMPLATES / "layout.mjml", TEMPLATES / "layout.html"


def compile_layout() -> str:
    """Return the HTML of the layout. Jinja2 placeholders are left unchanged."""
    output = mrml.to_html(SOURCE.read_text())
    if output.warnings:
        raise SystemExit(f"{SOURCE.name}: {output.warnings}")
    return f"{{# Compiled from {SOURCE.name}: make mails #}}{output.content}\n"


if __name__ == "__main__":
    COMPILED.write_text(compile_layout())
