"""Validation of single-line text input: names of people, titles of courses, plans and bundles.

A line may contain every script and every kind of space: joiners (Persian, joined emoji), no-break and ideographic
spaces are ordinary characters of names. It contains no control character and no line break, and at least one visible
character.
"""

import re
import unicodedata

LINE_MAX_LENGTH = 200
IDENTITY_TEXT_MAX_LENGTH = 320  # of names and addresses from Auth0: the longest e-mail address

# Control characters, line and paragraph separators, surrogates, the two noncharacters of the basic plane.
_FORBIDDEN = "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff\\ufffe\\uffff"
# Characters without a glyph: spaces, soft hyphen, fillers, joiners, directional marks, variation selectors.
_INVISIBLE = (
    " \\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000"
    "\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f"
    "\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb"
)
# The rule as a regular expression for the OpenAPI document. ``is_line`` also checks characters of other planes.
# The first two character classes are disjoint, so that matching takes linear time.
LINE_PATTERN = rf"[{_INVISIBLE}]*[^{_FORBIDDEN}{_INVISIBLE}][^{_FORBIDDEN}]*\Z"

_FORBIDDEN_CHARACTER = re.compile(f"[{_FORBIDDEN}]")
_INVISIBLE_CHARACTER = re.compile(f"[{_INVISIBLE}\U000e0000-\U000e0fff\U0001d173-\U0001d17a\U000110bd\U000110cd]")
_DIRECTIONAL_FORMATTING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def is_line(text: str) -> bool:
    """Return whether ``text`` is one line with at least one visible character. The caller checks its length."""
    return not _FORBIDDEN_CHARACTER.search(text) and is_visible(text)


def is_visible(text: str) -> bool:
    """Return whether ``text`` has a visible character."""
    return any(unicodedata.category(character)[0] != "M" for character in _INVISIBLE_CHARACTER.sub("", text))


def line_or_none(text: object, *, max_length: int = IDENTITY_TEXT_MAX_LENGTH) -> str | None:
    """Return ``text``, cut to ``longest`` characters; None if it is not a line.

    For names and addresses from the identity provider, whose rules differ: an invalid value is ignored.
    """
    if not isinstance(text, str):
        return None
    cut = text[:max_length].strip()
    return cut if is_line(cut) else None


def strip_directional_formatting(text: str) -> str:
    """Remove directional embeddings, overrides and isolates, which would reverse the text that follows them."""
    return _DIRECTIONAL_FORMATTING.sub("", text)
