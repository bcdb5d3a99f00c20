"""Transliteration to Latin letters, for slugs and for typo-tolerant search."""

import re
import unicodedata

_RUSSIAN = str.maketrans("абвгдеёзийклмнопрстуфыэ", "abvgdeeziiklmnoprstufye") | str.maketrans(
    {"ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu", "я": "ya"}  # noqa: RUF001
)
_LOOKS_LIKE_UUID = re.compile(r"[0-9a-f]{32}")
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")


def transliterate(text: str) -> str:
    """Transliterate ``text`` to lower-case Latin letters, digits and single spaces; drop other characters."""
    latin = text.lower().translate(_RUSSIAN)
    plain = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode()
    return _NOT_ALPHANUMERIC.sub(" ", plain).strip()


def slug_of(title: str) -> str:
    """Return the slug of a title; ``course`` if no character of the title can be transliterated.

    A slug never looks like a UUID, because URL paths accept either.
    """
    slug = transliterate(title)[:80].rstrip().replace(" ", "-") or "course"
    return f"course-{slug}" if _LOOKS_LIKE_UUID.fullmatch(slug.replace("-", "")) else slug
