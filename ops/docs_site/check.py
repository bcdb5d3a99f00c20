"""Check a built site: every link to it has a target, and no page loads anything from elsewhere."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Collects the ids of a page, the addresses that it links to and those that it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.linked: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.linked.add(values["href"])
        if tag in {"script", "img", "link"}:
            self.loaded.add(values.get("src") or values.get("href", ""))


def find_problems(folder: Path) -> Iterator[str]:
    """Yield one line for each broken link and for each address outside the site that a page loads."""
    pages = {path: _Page(path.read_text()) for path in folder.resolve().rglob("*.html")}
    for path, page in sorted(pages.items()):
        name = path.relative_to(folder.resolve())
        for address in sorted(page.loaded):
            if urlsplit(address).netloc:
                yield f"{name}: loads {address}"
        for address in sorted(page.linked):
            target = urlsplit(address)
            if target.scheme or target.netloc:
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            if not file.is_file() or (target.fragment and file in pages and target.fragment not in pages[file].ids):
                yield f"{name}: broken link {address}"
