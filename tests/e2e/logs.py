"""Reader of the log lines that the platform's processes write during a scenario."""

import json
from collections.abc import Iterator
from typing import Any

from tests.e2e.harness import ScenarioHarness


class Logs:
    """The log lines that the platform's processes wrote after this object was created."""

    def __init__(self, harness: ScenarioHarness) -> None:
        stack = harness.platform.stack
        names = [process.name for process in stack.processes if process.platform]
        self._read = lambda: {name: stack.log(name) for name in names}
        self._before = {name: len(text) for name, text in self._read().items()}

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield the process and the text of each complete line."""
        for name, text in self._read().items():
            *complete, _unfinished = text[self._before[name] :].split("\n")
            yield from ((name, line) for line in complete if line)

    def lines(self, trace_id: str | None = None) -> list[dict[str, Any]]:
        read = [json.loads(text) for _, text in self.texts()]
        return [line for line in read if trace_id in (None, line.get("trace", {}).get("id"))]
