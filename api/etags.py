"""Conditional requests. The ETag of a resource is its version, so nothing is rendered only to be hashed."""

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


# Kept by the client itself, and shown only after asking whether it still holds.
_ASK_FIRST = ("Cache-Control", "private, no-cache")
_JSON = ("Content-Type", "application/json")


class _Ready(Response):
    """An answer with all its headers. Flask would look through them three times more, which costs a 304 a tenth."""

    default_mimetype = None
    automatically_set_content_length = False

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:  # noqa: ARG002 werkzeug's signature
        return self.headers


def respond(stored: Stored) -> Response:
    """Answer with what is stored and its ETag; 304 where the client's If-None-Match names it."""
    return _unless_known(str(stored.version), stored.body)


def respond_versioned(shown: dict[str, Any]) -> Response:
    """Answer with ``shown``: {"version", "view"}; the version is the ETag."""
    return respond(Stored(shown["version"], msgspec.json.encode(shown["view"])))


def respond_page(page: bytes) -> Response:
    """Answer with a stored page of a list: its Link, a line break, its body. Its ETag is a hash of them."""
    link, _, body = page.partition(b"\n")
    return _unless_known(hashlib.blake2b(page, digest_size=12).hexdigest(), body, link=link.decode())


def unchanged(version: int) -> Response:
    """A 304, for whoever has this version."""
    return _Ready(status=304, headers=[("ETag", f'"{version}"'), _ASK_FIRST])


def known_version() -> int | None:
    """The version that a reader has, where If-None-Match names one in the form that we sent it in; else None."""
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
    """Whether the client reads, and has this already."""
    named = request.environ.get("HTTP_IF_NONE_MATCH")
    if named is None or request.method not in {"GET", "HEAD"}:
        return False
    # Nearly every client sends back just what it was given; so it is compared before it is parsed.
    return named == f'"{tag}"' or request.if_none_match.contains_weak(tag)


def existing(task: str, **message: Any) -> Callable[[View], View]:
    """Answer 404 before what the form of the request deserves, where ``task`` does not find what the path names."""

    def decorate(view: View) -> View:
        def find(**named: Any) -> None:
            look_up(task, **named, **message)

        view.find = find  # type: ignore[attr-defined]  # called by api.auth
        return view

    return decorate


def if_match(view: View) -> View:
    """Ask for If-Match before the body is looked at; lends the view ``expected_version``.

    Raises PreconditionRequired.
    """

    @functools.wraps(view)
    def conditional(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs, expected_version=expected_version())

    conditional._apidoc = {**getattr(view, "_apidoc", {}), "if_match": True}  # type: ignore[attr-defined]  # noqa: SLF001 flask-smorest's door for documentation
    return conditional  # type: ignore[return-value]  # functools.wraps keeps the view's own type to itself


def expected_version() -> int:
    """The version that the client has seen, by its If-Match; an ETag that is none of ours matches no version.

    Raises PreconditionRequired without one, and for ``*``, which says nothing of what the client has seen.
    """
    tags = request.if_match
    if not tags or tags.star_tag:
        raise PreconditionRequired
    # A proxy that compresses makes our ETags weak; the version in them is as exact as before.
    named = tags.as_set(include_weak=True)
    tag = (named.pop() or "") if len(named) == 1 else ""
    return int(tag) if tag.isascii() and tag.isdecimal() and len(tag) < len(str(2**63)) else _NO_VERSION
