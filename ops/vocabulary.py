"""``python -m ops.vocabulary``: reject words that ``ops/vocabulary.toml`` replaces by plain technical terms.

A file is searched as one text, Python too: no rejected word is a keyword. Names are split into words first.
"""

import argparse
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from core import command_line

SUFFIXES = {".py", ".md", ".yml", ".html", ".txt"}
CONFIG = "ops/vocabulary.toml"
Finding = tuple[str, int, str, str]  # path, line, word, what to write instead
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GAP = r"[\s#*-]+"  # between the words of a phrase: it may continue on the next line of a comment


class Vocabulary:
    """The rejected words of one source tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        config: dict[str, Any] = tomllib.loads((root / CONFIG).read_text())
        self.limits: dict[str, int] = config.get("not_yet", {})  # path prefix → words that are still accepted there
        self._exempt: dict[str, str] = config.get("exempt", {})
        forms = {form: word["use"] for word in config["words"] for form in word["forms"]}
        self._use = {form.lower().replace("-", " "): use for form, use in forms.items()}
        self._rejected = re.compile(rf"\b(?:{'|'.join(self._use).replace(' ', _GAP)})\b", re.IGNORECASE)
        self._allowed = [
            (re.compile(rf"\b(?:{each['phrase'].replace(' ', _GAP)})\b", re.IGNORECASE), each.get("path", ""))
            for each in config.get("allowed", [])
        ]

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text of each file by its path, without exempt files and hidden folders but ``.github``."""
        shown = [path for path in self.root.iterdir() if not path.name.startswith(".") or path.name == ".github"]
        paths = sorted(path for top in shown for path in (top, *top.rglob("*")) if path.suffix in SUFFIXES)
        names = {path.relative_to(self.root).as_posix(): path for path in paths}
        return {name: path.read_text() for name, path in names.items() if not name.startswith(tuple(self._exempt))}

    def findings(self, prefixes: Sequence[str] = ("",)) -> Iterator[Finding]:
        for path, text in self.texts.items():
            if path.startswith(tuple(prefixes)):
                yield from self._find(path, Path(path).stem)  # a file's name is a word of the code, too
                yield from self._find(path, text)

    def _find(self, path: str, text: str) -> Iterator[Finding]:
        words = _CAMEL_CASE.sub(" ", text).replace("_", " ")
        for phrase, prefix in self._allowed:
            if path.startswith(prefix):
                words = phrase.sub(lambda match: re.sub(r"\S", "·", match[0]), words)
        for match in self._rejected.finditer(words):
            word = " ".join(re.split(_GAP, match[0]))
            yield path, words.count("\n", 0, match.start()) + 1, word, self._use[word.lower()]

    def limit_of(self, path: str) -> str:
        """Return the longest prefix in ``not_yet`` that covers ``path``; "" where none does."""
        return max((prefix for prefix in self.limits if path.startswith(prefix)), key=len, default="")


def check(vocabulary: Vocabulary) -> bool:
    """Print what is not accepted; return whether there was nothing."""
    findings = list(vocabulary.findings())
    counts = Counter(vocabulary.limit_of(path) for path, *_ in findings)
    show(each for each in findings if not vocabulary.limit_of(each[0]))
    for prefix, limit in vocabulary.limits.items():
        if counts[prefix] != limit:
            advice = "hint: --update" if counts[prefix] < limit else f"list: python -m ops.vocabulary {prefix}"
            print(f"{prefix}: {counts[prefix]} words, {limit} are accepted; {advice}")
    return all(number <= vocabulary.limits.get(prefix, 0) for prefix, number in counts.items())


def show(findings: Iterable[Finding]) -> None:
    for path, line, word, use in findings:
        print(f"{path}:{line}: {word} → {use}")


def update(vocabulary: Vocabulary) -> None:
    """Lower the numbers of ``not_yet`` to what is there; remove those that are zero. Never raises a number."""
    config = (vocabulary.root / CONFIG).read_text()
    counts = Counter(vocabulary.limit_of(path) for path, *_ in vocabulary.findings())
    for prefix, limit in vocabulary.limits.items():
        line = f'"{prefix}" = {count}\n' if (count := min(limit, counts[prefix])) else ""
        config = re.sub(rf'^"{re.escape(prefix)}" = \d+\n', line, config, flags=re.MULTILINE)
    (vocabulary.root / CONFIG).write_text(config)


def print_density(vocabulary: Vocabulary) -> None:
    words = Counter(path.partition("/")[0] for path, *_ in vocabulary.findings())
    lines = Counter(path.partition("/")[0] for path, text in vocabulary.texts.items() for _ in text.splitlines())
    for folder, number in sorted(lines.items()):
        print(f"{folder:24} {words[folder]:6} words {1000 * words[folder] / number:7.1f} per 1000 lines")


def main(arguments: Sequence[str], root: Path = Path()) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.vocabulary", description=__doc__)
    parser.add_argument("prefixes", nargs="*", metavar="PATH", help="list all words in these paths")
    parser.add_argument("--count", action="store_true", help="print words per thousand lines of each folder")
    parser.add_argument("--update", action="store_true", help="lower the numbers of not_yet")
    args, vocabulary = parser.parse_args(arguments), Vocabulary(root)
    if args.count:
        print_density(vocabulary)
    elif args.update:
        update(vocabulary)
    elif args.prefixes:
        show(vocabulary.findings(args.prefixes))
    else:
        return 0 if check(vocabulary) else 1
    return 0


if __name__ == "__main__":
    command_line.run(lambda: main(sys.argv[1:]))
