"""The vocabulary linter on small trees with invented words."""

from pathlib import Path

import pytest

from ops import vocabulary

CONFIG = """
[[words]]
forms = ["blorp", "blorps"]
use = "publish"

[[words]]
forms = ["flim-flam"]
use = "fake"

[[words]]
forms = ["off hand"]
use = "manually"

[[allowed]]
phrase = "dead blorps?"
reason = "the field's term"

[[allowed]]
phrase = "blorp"
path = "docs/history.md"
reason = "a quotation"

[exempt]
"docs/glossary.md" = "names old words"

[not_yet]
"old/" = 2
"old/worse/" = 5
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, vocabulary.CONFIG, CONFIG)
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_clean_tree_passes(root: Path, capsys) -> None:
    write(root, "api/orders.py", '"""Publish an order."""\n')

    assert vocabulary.main([], root) == 0
    assert "api" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("a.py", "x = 1\n# It blorps.\n", "a.py:2: blorps → publish"),
        ("a.py", '"""Do.\n\nBlorp.\n"""\n', "a.py:3: Blorp → publish"),
        ("a.py", "raise Error('blorp')\n", "a.py:1: blorp → publish"),
        ("a.py", "def all_blorps_of(x): ...\n", "a.py:1: blorps → publish"),
        ("a.py", "class LateBlorp: ...\n", "a.py:1: Blorp → publish"),
        ("a.py", "MAX_BLORPS = 2\n", "a.py:1: BLORPS → publish"),
        ("a.py", "flim_flam = 1\n", "a.py:1: flim flam → fake"),
        ("a.py", "# done off\n# hand\n", "a.py:1: off hand → manually"),
        ("all_blorps.py", "x = 1\n", "all_blorps.py:1: blorps → publish"),
        ("docs/a.md", "A *flim-flam*.\n", "docs/a.md:1: flim flam → fake"),
        ("ci.yml", "name: blorp\n", "ci.yml:1: blorp → publish"),
        ("page.html", "<p>Blorp</p>\n", "page.html:1: Blorp → publish"),
        ("mail.txt", "blorp", "mail.txt:1: blorp → publish"),
    ],
)
def test_rejected_word_is_reported_with_its_line(root: Path, capsys, path: str, text: str, found: str) -> None:
    write(root, path, text)

    assert vocabulary.main([], root) == 1
    assert found in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "dead_blorps = 'a dead blorp'  # dead-blorp\n"),
        ("a.py", "blorpify = 1\n"),
        ("docs/history.md", "blorp"),
        ("docs/glossary.md", "blorp"),
        (".local/lib.py", "blorp = 1"),
        ("data.json", "blorp"),
    ],
)
def test_legitimate_use_is_accepted(root: Path, path: str, text: str) -> None:
    write(root, path, text)

    assert vocabulary.main([], root) == 0


def test_more_words_than_the_limit_fail(root: Path, capsys) -> None:
    write(root, "old/a.py", "# blorp blorp\n")
    write(root, "old/worse/a.py", "# blorp blorp blorp blorp blorp\n")
    assert vocabulary.main([], root) == 0

    write(root, "old/b.py", "# blorp\n")

    assert vocabulary.main([], root) == 1
    assert "old/: 3 words, 2 are accepted" in capsys.readouterr().out


def test_fewer_words_than_the_limit_print_a_hint_only(root: Path, capsys) -> None:
    write(root, "old/a.py", "# blorp\n")

    assert vocabulary.main([], root) == 0
    assert "old/: 1 words, 2 are accepted; hint:" in capsys.readouterr().out


def test_update_lowers_limits_and_never_raises_them(root: Path) -> None:
    write(root, "old/a.py", "# blorp blorp blorp\n")
    write(root, "old/worse/a.py", "# blorp\n")

    vocabulary.main(["--update"], root)

    assert vocabulary.Vocabulary(root).limits == {"old/": 2, "old/worse/": 1}


def test_update_removes_a_limit_of_zero(root: Path) -> None:
    vocabulary.main(["--update"], root)

    assert vocabulary.Vocabulary(root).limits == {}


def test_paths_list_words_within_the_limit(root: Path, capsys) -> None:
    write(root, "old/a.py", "# blorp\n")
    write(root, "other/a.py", "# blorp\n")

    vocabulary.main(["old/"], root)

    assert capsys.readouterr().out == "old/a.py:1: blorp → publish\n"


def test_count_prints_words_per_thousand_lines(root: Path, capsys) -> None:
    write(root, "old/a.py", "# blorp\n" + "x = 1\n" * 499)

    vocabulary.main(["--count"], root)

    assert "old" in (out := capsys.readouterr().out)
    assert "1 words     2.0 per 1000 lines" in out
