"""Words in Latin letters: for slugs, and for finding what was misspelled."""

import re
import unicodedata

_RUSSIAN = str.maketrans("абвгдеёзийклмнопрстуфыэ", "abvgdeeziiklmnoprstufye") | str.maketrans(
    {"ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu", "я": "ya"}  # noqa: RUF001
)
_LIKE_AN_ID = re.compile(r"[0-9a-f]{32}")
_OUT_OF_PLACE = re.compile(r"[^a-z0-9]+")


def romanised(text: str) -> str:
    """``text`` in lower-case Latin letters, digits and single spaces; letters it has no word for fall away."""
    latin = text.lower().translate(_RUSSIAN)
    plain = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode()
    return _OUT_OF_PLACE.sub(" ", plain).strip()


def slug_of(title: str) -> str:
    """Return how ``title`` looks in an address; ``course`` where nothing of it is left.

    A slug never reads as an id: both stand at the same place of a path.
    """
    slug = romanised(title)[:80].rstrip().replace(" ", "-") or "course"
    return f"course-{slug}" if _LIKE_AN_ID.fullmatch(slug.replace("-", "")) else slug
