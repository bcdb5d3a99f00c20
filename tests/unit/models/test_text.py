"""Single-line texts: every script is accepted; control characters and blank lines are rejected."""

import re
import time

import pytest

from core.text import IDENTITY_TEXT_MAX_LENGTH, LINE_PATTERN, is_line, line_or_none, strip_directional_formatting

LINES = {
    "Persian with a non-joiner": "علی\u200cرض\u0627",
    "Japanese with an ideographic space": "山田\u3000太郎",
    "a no-break space": "Jean\u00a0Dupont",
    "a joined emoji": "👩\u200d💻 Ann",
    "an emoji with a selector": "❤\ufe0f",
    "a flag made of tags": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "a soft hyphen": "Donau\u00addampf",
    "right to left with a mark": "\u200fאנה",
    "a combining accent": "Jose\u0301",
    "Devanagari": "क्\u200dष",
}
NOT_LINES = {
    "nothing": "",
    "a space": " ",
    "a zero-width space": "\u200b",
    "an override": "\u202e",
    "a byte order mark": "\ufeff",
    "a soft hyphen alone": "\u00ad",
    "a Hangul filler": "\u3164",
    "a Braille blank": "\u2800",
    "tags alone": "\U000e0041\U000e0042",
    "a selector alone": "\ufe0f",
    "a combining accent alone": " \u0301",
    "a line break": "Ann\nBcc: x",
    "a next line": "Ann\x85x",
    "a line separator": "Ann\u2028x",
    "a paragraph separator": "Ann\u2029x",
    "a NUL": "Ann\0",
    "an escape": "Ann\x1b[31m",
    "half of a surrogate pair": "Ann\ud800",
}


@pytest.mark.parametrize("text", LINES.values(), ids=LINES)
def test_lines_of_every_script_are_accepted(text: str):
    assert is_line(text)
    assert re.match(LINE_PATTERN, text)
    assert line_or_none(text) == text


@pytest.mark.parametrize("text", NOT_LINES.values(), ids=NOT_LINES)
def test_control_characters_and_invisible_lines_are_rejected(text: str):
    assert not is_line(text)
    assert line_or_none(text) is None


@pytest.mark.parametrize("value", [None, 7, ["Ann"], {"name": "Ann"}])
def test_identity_text_of_another_type_is_ignored(value: object):
    assert line_or_none(value) is None


def test_identity_text_is_truncated_to_max_length():
    assert line_or_none("x" * 5000) == "x" * IDENTITY_TEXT_MAX_LENGTH


def test_matching_takes_linear_time():
    began = time.perf_counter()
    assert not re.match(LINE_PATTERN, "x" * 500_000 + "\n")
    assert not re.match(LINE_PATTERN, " " * 500_000 + "\n")

    assert time.perf_counter() - began < 1


def test_direction_overrides_are_removed_and_marks_kept():
    assert strip_directional_formatting("Ann\u202e evil\u2066 \u200fאנה") == "Ann evil \u200fאנה"
