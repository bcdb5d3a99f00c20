"""Markdown of authors as HTML that is safe in a page."""

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

_TAGS = {
    *("p", "br", "hr", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "code", "ul", "ol", "li"),
    *("em", "strong", "s", "del", "ins", "sub", "sup", "kbd", "mark", "a", "img", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}

_parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def markdown(text: str) -> Markup:
    """Return CommonMark with tables as HTML without scripts, styles, and links that are no addresses of the web.

    Authors may use HTML for what Markdown lacks; what is not listed above is removed. Headings begin at the second
    level, because the page has the first one.
    """
    tokens = _parser.parse(text)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"
    html = _parser.renderer.render(tokens, _parser.options, {})
    safe = nh3.clean(
        html, tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_SCHEMES, link_rel="nofollow noopener noreferrer"
    )
    return Markup(safe)  # noqa: S704 cleaned
