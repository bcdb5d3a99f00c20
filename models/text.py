"""Rules for lines of text from outside: names of people, titles of courses, plans and bundles.

A line may hold every script and every space: joiners (Persian, joined emoji), no-break and ideographic spaces are
ordinary letters of names. A line holds no control character and no line break, and has at least one visible letter.
"""

import re
import unicodedata

LINE_MAX_LENGTH = 200
IDENTITY_TEXT_MAX_LENGTH = 320  # of what the identity provider says: an address has at most as many letters

# Control characters, line and paragraph separators, halves of surrogate pairs, the two noncharacters of the plane.
_FORBIDDEN = "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff\\ufffe\\uffff"
# Letters that show nothing by themselves: spaces, soft hyphen, fillers, joiners, marks of direction, selectors.
_INVISIBLE = (
    " \\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000"
    "\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f"
    "\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb"
)
# The rule as a regular expression, for the OpenAPI document. ``is_line`` also knows invisible letters of other planes.
# The classes of its first two parts are disjoint, so that matching takes linear time.
LINE_PATTERN = rf"[{_INVISIBLE}]*[^{_FORBIDDEN}{_INVISIBLE}][^{_FORBIDDEN}]*\Z"

_FORBIDDEN_LETTER = re.compile(f"[{_FORBIDDEN}]")
_INVISIBLE_LETTER = re.compile(f"[{_INVISIBLE}\U000e0000-\U000e0fff\U0001d173-\U0001d17a\U000110bd\U000110cd]")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")


def is_line(text: str) -> bool:
    """Whether ``text`` is one line with at least one visible letter; its length is for the caller to limit."""
    if _FORBIDDEN_LETTER.search(text):
        return False
    return any(unicodedata.category(letter)[0] != "M" for letter in _INVISIBLE_LETTER.sub("", text))


def line_or_none(text: object, *, longest: int = IDENTITY_TEXT_MAX_LENGTH) -> str | None:
    """``text``, cut to ``longest`` letters; None where it is not a line.

    For names and addresses of the identity provider, whose rules differ: a bad one is ignored, not refused.
    """
    if not isinstance(text, str):
        return None
    cut = text[:longest].strip()
    return cut if is_line(cut) else None


def undirected(text: str) -> str:
    """``text`` without embeddings, overrides and isolates of direction, which would turn what stands after them."""
    return _DIRECTION.sub("", text)
