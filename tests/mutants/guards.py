"""The mutants of ``guards.toml``: which text to take out of which file, and the tests that must then fail."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One guard that is taken out: ``text`` of ``file`` is replaced by ``replacement``."""

    name: str
    guarantee: str  # the beginning of its line in docs/guarantees.md
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]  # arguments of pytest

    @property
    def applies(self) -> bool:
        """Whether the text occurs exactly once in the file."""
        file = ROOT / self.file
        return file.is_file() and file.read_text().count(self.text) == 1


def read_mutants() -> list[Mutant]:
    with Path(__file__).with_name("guards.toml").open("rb") as file:
        entries = tomllib.load(file)["mutants"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]
