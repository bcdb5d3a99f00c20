"""Compile the mails' layout from MJML, which no mailbox reads, to the HTML that all of them do: ``make mails``."""

from pathlib import Path

import mrml

TEMPLATES = Path(__file__).parent.parent / "workers" / "notifications" / "templates"
SOURCE, COMPILED = TEMPLATES / "layout.mjml", TEMPLATES / "layout.html"


def compile_layout() -> str:
    """The HTML of the layout; what Jinja2 reads in it goes through untouched."""
    output = mrml.to_html(SOURCE.read_text())
    if output.warnings:
        raise SystemExit(f"{SOURCE.name}: {output.warnings}")
    return f"{{# Compiled from {SOURCE.name}: make mails #}}{output.content}\n"


if __name__ == "__main__":
    COMPILED.write_text(compile_layout())
