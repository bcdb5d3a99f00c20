"""Conditional requests. The ETag of a resource is its version, so a 304 needs no rendering and no hashing."""

import functools
import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from flask import Response, request
from werkzeug.datastructures import Headers

from models.cache import Stored
from models.errors import PreconditionRequired

from .queue import look_up

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

View = TypeVar("View", bound=Callable[..., Any])

_OURS = re.compile(r'"[1-9][0-9]{0,15}"')
_NO_VERSION = 0  # versions count from 1


# The client may cache the response, but must revalidate it before each use.
_ASK_FIRST = ("Cache-Control", "private, no-cache")
_JSON = ("Content-Type", "application/json")


class _Ready(Response):
    """A response with complete headers. Skips werkzeug's processing of headers, a tenth of the cost of a 304."""

    default_mimetype = None
    automatically_set_content_length = False

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:  # noqa: ARG002 werkzeug's signature
        return self.headers


def respond(stored: Stored) -> Response:
    """Return the stored body with its ETag, or a 304 if the ETag is in If-None-Match."""
    return _unless_known(str(stored.version), stored.body)


def respond_versioned(shown: dict[str, Any]) -> Response:
    """Return ``shown["view"]`` as JSON, with ``shown["version"]`` as ETag."""
    return respond(Stored(shown["version"], msgspec.json.encode(shown["view"])))


def respond_page(page: bytes) -> Response:
    """Return a stored list page: Link header, line break, body. Its ETag is a hash of both."""
    link, _, body = page.partition(b"\n")
    return _unless_known(hashlib.blake2b(page, digest_size=12).hexdigest(), body, link=link.decode())


def unchanged(version: int) -> Response:
    """Return a 304 with the ETag of ``version``."""
    return _Ready(status=304, headers=[("ETag", f'"{version}"'), _ASK_FIRST])


def known_version() -> int | None:
    """Return the version in If-None-Match of a GET or HEAD; None unless it is exactly one ETag of a version."""
    named = request.environ.get("HTTP_IF_NONE_MATCH", "")
    if not _OURS.fullmatch(named) or request.method not in {"GET", "HEAD"}:
        return None
    return int(named[1:-1])


def _unless_known(tag: str, body: bytes, *, link: str = "") -> Response:
    headers = [("ETag", f'"{tag}"'), _ASK_FIRST]
    if link:
        headers.append(("Link", link))
    if _has(tag):
        return _Ready(status=304, headers=headers)
    return _Ready(body, headers=[*headers, _JSON, ("Content-Length", str(len(body)))])


def _has(tag: str) -> bool:
    """Return whether If-None-Match of a GET or HEAD contains ``tag``."""
    named = request.environ.get("HTTP_IF_NONE_MATCH")
    if named is None or request.method not in {"GET", "HEAD"}:
        return False
    # Nearly every client sends exactly the ETag that it received: compare the text before parsing the header.
    return named == f'"{tag}"' or request.if_none_match.contains_weak(tag)


def existing(task: str, **message: Any) -> Callable[[View], View]:
    """Make a malformed request answer 404 first if ``task`` does not find the object in the path.

    ``task`` gets the path parameters and ``message``.
    """

    def decorate(view: View) -> View:
        def find(**named: Any) -> None:
            look_up(task, **named, **message)

        view.find = find  # type: ignore[attr-defined]  # called by api.auth
        return view

    return decorate


def if_match(view: View) -> View:
    """Require If-Match before the body is parsed, and pass its version to the view as ``expected_version``.

    Raises PreconditionRequired.
    """

    @functools.wraps(view)
    def conditional(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs, expected_version=expected_version())

    conditional._apidoc = {**getattr(view, "_apidoc", {}), "if_match": True}  # type: ignore[attr-defined]  # noqa: SLF001 flask-smorest's attribute for documentation
    return conditional  # type: ignore[return-value]  # functools.wraps does not return the view's type


def expected_version() -> int:
    """Return the version in If-Match, or _NO_VERSION, which matches no resource, for any other ETag.

    Raises PreconditionRequired if the header is missing or ``*``, which does not say what the client has seen.
    """
    tags = request.if_match
    if not tags or tags.star_tag:
        raise PreconditionRequired
    # Accept weak ETags: compressing proxies weaken them, but the version in them stays exact.
    named = tags.as_set(include_weak=True)
    tag = (named.pop() or "") if len(named) == 1 else ""
    return int(tag) if tag.isascii() and tag.isdecimal() and len(tag) < len(str(2**63)) else _NO_VERSION
