"""What commands print: tables for people, JSON for programs, progress bars and errors on the error output."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_UNBROKEN_LENGTH = 36  # of a UUID
_FILE_WIDTH = 1000  # of tables in files and pipes, whose lines are not broken
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")

Advance = Callable[[int], None]
Column = tuple[str, Callable[[Any], Any]]


class Rate(ProgressColumn):
    """Finished steps per second."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "…/s")


class Output:
    """The outputs of one command. With ``as_json`` the standard output has JSON only."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Created for each command, because tests replace the streams.
        width = None if sys.stdout.isatty() else _FILE_WIDTH
        self._out = Console(file=sys.stdout, highlight=False, width=width)
        self._err = Console(file=sys.stderr, highlight=False)

    def items(self, items: Iterable[Any], columns: Sequence[Column], *, title: str | None = None) -> None:
        """Print a list as a table, or as a JSON array."""
        found = list(items)
        if self.as_json:
            self._json(found)
            return
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        rows = [[_cell(read(item)) for _, read in columns] for item in found]
        for place, (name, _) in enumerate(columns):
            # Ids and times stay whole, so that they can be copied; long texts take the width that is left.
            is_short = max((len(row[place]) for row in rows), default=0) <= _UNBROKEN_LENGTH
            table.add_column(name, overflow="fold", no_wrap=is_short)
        for row in rows:
            table.add_row(*map(Text, row))
        self._out.print(table)
        if not found:
            self._out.print("None.")

    def item(self, item: Any, fields: Mapping[str, Any]) -> None:
        """Print one object: its ``fields`` in lines, or all of it as JSON."""
        if self.as_json:
            self._json(item)
            return
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            self._out.print(Text(f"{name:<{width}}  {_cell(value)}"))

    def line(self, item: Any, text: str) -> None:
        """Print one entry of an endless list: a line of text or of JSON, flushed."""
        if self.as_json:
            self._json(item)
        else:
            self._out.print(Text(text))
        sys.stdout.flush()

    def done(self, text: str, item: Any = None) -> None:
        """Print that a command has succeeded; with JSON, ``item`` or {"done": text}."""
        if self.as_json:
            self._json({"done": text} if item is None else item)
        else:
            self._out.print(Text(text))

    def note(self, text: str) -> None:
        """Print a remark on the error output, also beside JSON."""
        self._err.print(Text(text))

    def error(self, shown: Mapping[str, Any]) -> None:
        """Print an error with what to do next on the error output."""
        if self.as_json:
            sys.stderr.write(msgspec.json.encode({"error": shown}).decode() + "\n")
            return
        self._err.print(Text.assemble(("Error: ", "bold red"), f"{shown['detail']} [{shown['code']}]"))
        for place in shown.get("errors", ()):
            self._err.print(Text(f"  {place.get('pointer') or place.get('parameter')}: {place['detail']}"))
        if request_id := shown.get("request_id"):
            self._err.print(Text(f"  Request {request_id}: support finds it by this id."))
        self._err.print(Text(f"Next: {shown['next']}"))

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Show a bar with count, rate and remaining time; yields the function that advances it.

        It is shown on the error output if that is a terminal.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
        with Progress(*columns, console=self._err, disable=not self._err.is_terminal) as progress:
            task = progress.add_task(what, total=total)
            yield lambda steps: progress.advance(task, steps)

    def _json(self, value: Any) -> None:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=0).decode() + "\n")


def columns_of(*names: str) -> list[Column]:
    """Return columns that show the attributes with these names."""
    return [(name, attrgetter(name)) for name in names]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, value)) or "-"
    return _TIME.sub(r"\1 \2", str(value))


# ISO 4217: the decimal places of the currencies that do not have two.
_WITHOUT_DECIMALS = r"BIF|CLP|DJF|GNF|ISK|JPY|KMF|KRW|PYG|RWF|UGX|VND|VUV|XAF|XOF|XPF"
_THREE_DECIMALS = r"BHD|IQD|JOD|KWD|LYD|OMR|TND"


def money(amount_minor: int, currency: str) -> str:
    """Return an amount with its currency, such as 19.00 EUR."""
    decimals = 0 if re.fullmatch(_WITHOUT_DECIMALS, currency) else 3 if re.fullmatch(_THREE_DECIMALS, currency) else 2
    return f"{amount_minor / 10**decimals:.{decimals}f} {currency}"
