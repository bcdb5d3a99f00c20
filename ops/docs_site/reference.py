"""Write the pages of the reference that repeat what the code says: API, events, settings, metrics, commands.

They are written into ``docs/reference/generated``, which is not committed, each time the site is built.
"""

import argparse
import ast
import json
from collections.abc import Iterator
from pathlib import Path

from bridge.cli import build_parser
from ops.docs_site.api_pages import api_pages
from settings import ROOT
from settings import read as settings_read

FOLDER = ROOT / "docs" / "reference" / "generated"
_METRICS = {"Counter", "Gauge", "Histogram", "CounterMetricFamily", "GaugeMetricFamily"}


def write() -> None:
    """Write all pages, and remove those that do not exist any more."""
    openapi = json.loads((ROOT / "docs" / "openapi.json").read_text())
    asyncapi = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    pages = {
        **api_pages(openapi),
        "events.md": _events(asyncapi),
        "settings.md": _settings(),
        "metrics.md": _metrics(),
        "bridge.md": _commands("python -m bridge", build_parser()),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in set(FOLDER.glob("*.md")) - {FOLDER / name for name in pages}:
        path.unlink()
    for name, text in pages.items():
        path = FOLDER / name
        if not path.exists() or path.read_text() != text:  # an unchanged page is not built again
            path.write_text(text)


def _events(asyncapi: dict[str, object]) -> str:
    lines = [
        "# Events",
        "",
        "Every event, with the topic of its producer and its data. How integrators receive them:",
        "[Follow events by webhook or feed](../../guides/events.md). Machine-readable: `docs/asyncapi.json` and",
        "`docs/schemas`.",
    ]
    channels = asyncapi["channels"]
    messages = asyncapi["components"]["messages"]  # type: ignore[index]
    for topic, channel in sorted(channels.items()):  # type: ignore[attr-defined]
        lines += ["", f"## Topic {topic}"]
        for name in sorted(channel["messages"]):
            message = messages[name]
            schema = json.loads((ROOT / "docs" / message["payload"]["$ref"]).read_text())
            lines += ["", f"### {name}", "", message["summary"], "", "| field | type | meaning |", "|---|---|---|"]
            required = set(schema.get("required", []))
            for field, declared in schema.get("properties", {}).items():
                optional = "" if field in required else ", optional"
                lines.append(f"| `{field}` | {_type(declared)}{optional} | {_cell(declared.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _type(schema: dict[str, object]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])  # type: ignore[attr-defined]
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])  # type: ignore[attr-defined]
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"  # type: ignore[arg-type]
    return str(schema.get("format") or schema.get("type", "any"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _settings() -> str:
    comments = dict(_comments(ROOT / "settings" / "__init__.py"))
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable, or a file that `<NAME>_FILE` names. `python -m settings` prints",
        "their values and all problems at once; [Running Coursebus](../../running.md#settings) explains the rest.",
    ]
    group = ""
    for setting in settings_read.settings.values():
        if setting.group != group:
            group = setting.group
            lines += ["", f"## {group}", "", "| setting | meaning |", "|---|---|"]
        lines.append(f"| `{setting.name}` | {_cell(comments.get(setting.name, ''))} |")
    return "\n".join(lines) + "\n"


def _comments(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each name that ``path`` assigns at its top level, with the comment above it and those beside it."""
    text = path.read_text()
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        first = node.lineno - 1
        while lines[first - 1].startswith("#"):
            first -= 1
        above = [line.lstrip("# ") for line in lines[first : node.lineno - 1]]
        beside = [line.partition("  # ")[2] for line in lines[node.lineno - 1 : node.end_lineno]]
        yield node.targets[0].id, " ".join([*above, *beside]).strip()


def _metrics() -> str:
    lines = [
        "# Metrics",
        "",
        "The metrics of Coursebus; Flask, Celery, Python and the process add their usual ones. Prometheus appends",
        "`_total` to the names of counters and `_bucket`, `_sum` and `_count` to those of histograms.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    paths = [
        path for folder in ("api", "bridge", "core", "stream", "workers") for path in (ROOT / folder).rglob("*.py")
    ]
    lines += sorted(line for path in paths for line in _metric_lines(path))
    return "\n".join(lines) + "\n"


def _metric_lines(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _METRICS):
            continue
        constants = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
        values = [value for value in constants if isinstance(value, str)]
        if len(values) != 2 or not values[0].startswith("coursebus_"):  # noqa: PLR2004 name and description
            continue
        given = [*node.args[2:3], *(each.value for each in node.keywords if each.arg in {"labels", "labelnames"})]
        labels = [
            f"`{each.value!s}`"
            for sequence in given
            if isinstance(sequence, ast.List | ast.Tuple)
            for each in sequence.elts
            if isinstance(each, ast.Constant)
        ]
        kind = node.func.id.removesuffix("MetricFamily").lower()
        yield f"| `{values[0]}` | {kind} | {', '.join(labels)} | {_cell(values[1])} |"


def _commands(name: str, root: argparse.ArgumentParser) -> str:
    """Return the help of a command line and of all its subcommands."""
    lines = [f"# `{name}`", "", "```text", root.format_help().strip(), "```"]
    for title, sub in _subcommands(root, ""):
        lines += ["", f"## `{title}`", "", "```text", sub.format_help().strip(), "```"]
    return "\n".join(lines) + "\n"


def _subcommands(root: argparse.ArgumentParser, prefix: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in root._actions:  # noqa: SLF001 argparse has no public way to list subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, sub in action.choices.items():
                yield f"{prefix}{name}", sub
                yield from _subcommands(sub, f"{prefix}{name} ")
